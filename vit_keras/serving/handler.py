"""Answers HTTP requests: the page, `GET /model`, `POST /predict` and `POST /explain`."""

import contextlib
import io
import json
import socket
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vit_keras.reporting.text import escape_unprintable
from vit_keras.serving.deadline_reader import DeadlineReader
from vit_keras.serving.limits import BODY_SECONDS, HEADER_SECONDS, MAX_BYTES, WRITE_SECONDS
from vit_keras.serving.page import REPORT_POLICY, SECURITY_HEADERS, page_files
from vit_keras.serving.request_error import RequestError
from vit_keras.serving.server_state import ServerState

_LINGER_SECONDS = 2.0  # in which a sender whose body is not read can read the answer
_LINGER_BYTES = 2 * MAX_BYTES
_CHUNK = 2**16  # bytes
_LONGEST_NAME = 255  # characters of a file's name
_TYPES = ("image/", "application/octet-stream")
_HOW = "Send one image's bytes as the body: curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' URL/predict"
_JSON = "application/json; charset=utf-8"


class Handler(BaseHTTPRequestHandler):
    """One connection. Whatever is asked for, it reads no files: the answers are a fixed table and the model's."""

    protocol_version = "HTTP/1.1"
    wbufsize = _CHUNK  # an answer's headers and content go together: of two small packets, the second would wait
    disable_nagle_algorithm = True

    @property
    def state(self) -> ServerState:
        """What all connections share."""
        server: Any = self.server  # a `ModelServer`
        state: ServerState = server.state
        return state

    def setup(self) -> None:
        """Replaces the standard reader by one with deadlines."""
        super().setup()
        self.rfile.close()
        self._incoming = DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._incoming, _CHUNK)
        self.raw_requestline = b""
        self._body_left = False

    def handle_one_request(self) -> None:
        """Reads and answers one request, in bounded time."""
        self.raw_requestline = b""
        self._incoming.allow(HEADER_SECONDS)
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Checks a request before its sender, who waits for a word, sends the body."""
        if self.command != "POST":
            return True
        if not self._run(self._check_post):
            return False
        done = super().handle_expect_100()
        self.wfile.flush()
        return done

    def do_GET(self) -> None:  # named by the base class
        """Answers with the page, or facts about the model."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:  # a body here is read by nobody
            self.close_connection = True
        with self.state.answering():
            self._run(self._get)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Answers with what the model says of an image."""
        with self.state.answering():
            self._run(self._post)

    def _run(self, answer: Callable[[], Any]) -> bool:
        """Calls a function, and sends what it refuses; returns whether it refused nothing."""
        try:
            if self.state.is_ending:
                self.close_connection = True
                raise RequestError(503, "The server was stopped.")
            answer()
        except RequestError as error:
            self._refuse(error)
            return False
        except TimeoutError:
            self._refuse(RequestError(408, f"The body did not arrive within {BODY_SECONDS:.0f} seconds."))
            return False
        except OSError:
            raise  # the client is gone
        except Exception as error:
            self._refuse(RequestError(500, f"This is a bug in vit_keras: {type(error).__name__}: {error}"))
            return False
        return True

    def _get(self) -> None:
        path, query = self._parse({"token"})
        access, service = self.state.access, self.state.service
        access.check(self.headers, token=query.get("token"))
        if path in page_files():
            kind, content = page_files()[path]
            keeps = access.token is not None and "token" in query  # the page's own requests come with the cookie
            cookie = f"{access.cookie}={access.token}; HttpOnly; SameSite=Strict; Path=/"
            self._send(200, content, kind, {"Set-Cookie": cookie} if keeps else {})
        elif path == "/model":
            self._send_json(200, {**service.describe(), "needs_token": access.token is not None})
        elif path == "/report" and service.report is not None:
            self._send(200, service.report, "text/html; charset=utf-8", {"Content-Security-Policy": REPORT_POLICY})
        elif path in ("/predict", "/explain"):
            raise RequestError(405, f"{path} takes POST. {_HOW}", {"Allow": "POST"})
        else:
            raise RequestError(404, "There is no such page. There are /, /model, and POST /predict and /explain.")

    def _check_post(self) -> tuple[str, dict[str, str], int]:
        """Returns the path, the parameters and the bytes of a request that may send its body."""
        self._body_left = True
        self.state.access.check(self.headers)
        self.state.access.check_sender(self.headers)
        path, query = self._parse({"name", "top"})
        if path not in ("/predict", "/explain"):
            known = path in page_files() or path in ("/model", "/report")
            raise (
                RequestError(405, f"{path} takes GET.", {"Allow": "GET, HEAD"})
                if known
                else RequestError(404, "There is no such page. POST takes /predict and /explain.")
            )
        kind = self.headers.get("Content-Type", "").strip().lower()
        if not kind.startswith(_TYPES):
            found = repr(kind) if kind else "missing"
            raise RequestError(415, f"The Content-Type is {found}, and should be that of an image. {_HOW}")
        return path, query, self._body_length()

    def _body_length(self) -> int:
        if "Transfer-Encoding" in self.headers:
            raise RequestError(411, f"A body in chunks is not read: its Content-Length is needed. {_HOW}")
        lengths = self.headers.get_all("Content-Length") or []
        if not lengths:
            raise RequestError(411, f"The Content-Length is missing. {_HOW}")
        length = lengths[0].strip()
        if len(set(lengths)) > 1 or not (length.isascii() and length.isdecimal()):
            raise RequestError(400, f"The Content-Length is {', '.join(lengths)!r}, and should be a number of bytes.")
        if len(length) > 15 or int(length) > MAX_BYTES:
            raise RequestError(
                413, f"The image has {length} bytes; the limit is {MAX_BYTES} ({MAX_BYTES // 2**20} MB)."
            )
        if int(length) == 0:
            raise RequestError(400, f"The body is empty. {_HOW}")
        return int(length)

    def _post(self) -> None:
        path, query, length = self._check_post()
        top = _parse_top(query.get("top"))
        name = query.get("name", "image")[:_LONGEST_NAME]
        self._incoming.allow(BODY_SECONDS)
        content = self.rfile.read(length)
        self._body_left = False
        if len(content) < length:
            raise RequestError(400, f"The body ended after {len(content)} of {length} bytes.")
        service = self.state.service
        if path == "/predict":
            self._send_json(200, service.predict(content, name=name, top=top))
        else:
            self._send_json(200, service.explain(content, name=name))

    def _parse(self, known: set[str]) -> tuple[str, dict[str, str]]:
        """Returns the path and the parameters of a request's address."""
        try:
            parts = urlsplit(self.path)
            found = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=8)
        except ValueError as error:
            raise RequestError(400, f"The address can't be read ({error}).") from error
        unknown = sorted(found.keys() - known)
        if unknown:
            raise RequestError(400, f"The parameter {unknown[0]!r} is unknown; there are {', '.join(sorted(known))}.")
        return parts.path if not parts.netloc else self.path, {name: values[-1] for name, values in found.items()}

    def _refuse(self, error: RequestError) -> None:
        if self._body_left:
            self.close_connection = True
        if error.status >= 500 and error.status != 503:
            sys.stderr.write(f"{error.status}: {escape_unprintable(error.message)}\n")
        self._send_json(error.status, {"error": error.message}, error.headers)
        if self._body_left:
            self._linger()

    def _send_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode() + b"\n", _JSON, headers)

    def _send(self, status: int, content: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        named = {**SECURITY_HEADERS, **(headers or {}), "Content-Type": kind, "Content-Length": str(len(content))}
        if self.close_connection:
            named["Connection"] = "close"
        for name, value in named.items():
            self.send_header(name, value)
        self.connection.settimeout(WRITE_SECONDS)
        try:
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.wfile.flush()
        except TimeoutError as error:
            raise ConnectionAbortedError("the client does not read") from error

    def _linger(self) -> None:
        """Reads what still comes, for a while: a connection that is closed at once takes the answer with it."""
        self._body_left = False
        self._incoming.allow(_LINGER_SECONDS)
        left = _LINGER_BYTES
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (read := len(self.rfile.read1(_CHUNK))):
                left -= read

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Sends an error that the base class found in a request."""
        self.close_connection = True
        if self.request_version == "HTTP/0.9":  # which has no status: also the version of a request that makes no sense
            self.request_version = self.protocol_version
        self._send_json(code, {"error": message or self.responses.get(code, ("error",))[0]})

    def log_error(self, format: str, *args: Any) -> None:
        """Answers a request whose headers did not arrive in time: the base class calls it for nothing else here."""
        if self.raw_requestline:
            self._refuse(RequestError(408, f"The headers did not arrive within {HEADER_SECONDS:.0f} seconds."))

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: what is classified is the user's own business."""

    def version_string(self) -> str:
        """Returns the header Server, without versions."""
        return "vit_keras"


def _parse_top(text: str | None) -> int | None:
    """Returns the number of classes that a request asks for: 5 by default, None for "all"."""
    if text is None:
        return 5
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 7 and int(text)):
        raise RequestError(400, f"top={text!r}: expected a number of classes from 1 on, or all.")
    return int(text)
