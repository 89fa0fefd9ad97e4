"""A server on this machine that misbehaves on request, and helpers for files in the cache."""

import dataclasses
import hashlib
import http.server
import json
import os
import time

import numpy as np
import pytest

from vit_keras.weights.download.fetch import fetch

BODY = np.random.default_rng(0).bytes(600_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
COMMIT = "0123456789abcdef" * 2 + "01234567"
LIMIT = 2**20


@dataclasses.dataclass
class Page:
    """The content at a path, and how the server misbehaves."""

    body: bytes = BODY
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    etag: str | None = '"one"'
    ranges: bool = True
    content_range: str | None = None  # in place of the correct one
    cut: int | None = None  # bytes after which the connection ends
    pause: float = 0.0  # seconds before each piece
    piece: int = 2**16  # bytes
    length: bool = True
    chunked: bool = False


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        page = self.server.pages.get(self.path.partition("?")[0], self.server.default)
        body, status, headers = page.body, page.status, dict(page.headers)
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if page.etag:
            headers["ETag"] = page.etag
        if wanted and page.ranges and condition in (None, page.etag, headers.get("Last-Modified")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < len(body) else 416
            headers["Content-Range"] = page.content_range or f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:] if status == 206 else b""
        self.send_response(status)
        if page.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif page.length:
            headers.setdefault("Content-Length", str(len(body)))
        self.close_connection = True
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        sent = body if page.cut is None else body[: page.cut]
        for start in range(0, len(sent), page.piece):
            time.sleep(page.pause)
            piece = sent[start : start + page.piece]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if page.chunked else piece)
        if page.chunked and page.cut is None:
            self.wfile.write(b"0\r\n\r\n")


class Site(http.server.ThreadingHTTPServer):
    """The server: `pages` by path, and `asked`, the path and headers of each request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.asked, self.default = {}, [], Page(b"nothing here", 404)
        self.root = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Ignores clients that disconnect, as many of these tests do."""

    def put(self, path="/model.safetensors", **page):
        self.pages[path] = Page(**page)
        return self.root + path


def list_files(cache):
    """Returns the names of all files in the cache except for the empty lock files."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def interrupt_after(count):
    def progress(done, total):
        if done >= count:
            raise KeyboardInterrupt

    return progress


def leave_a_part(url):
    with pytest.raises(KeyboardInterrupt):
        fetch(url, max_bytes=LIMIT, progress=interrupt_after(1))


def read_record(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


def damage(path):
    """Changes one byte, and the time of the last change."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
