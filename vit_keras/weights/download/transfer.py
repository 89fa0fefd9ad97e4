"""One download: from a server to a part file, whole and hashed before it gets its name."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, VitKerasError
from vit_keras.version import __version__
from vit_keras.weights.download.urls import HUB, Source, as_commit, may_be_read, mirrored

_CHUNK = 2**18  # bytes read at a time
_SLOWEST = 1024  # bytes a second, over one timeout; what is slower hangs
_BINARY = (".safetensors", ".npz")
_COMMIT = "X-Repo-Commit"  # Hugging Face's header


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One download: from the server to a part file, from that to the file's name."""

    source: Source
    sha256: str | None
    max_bytes: int
    timeout: float
    progress: Callable[[int, int | None], object] | None

    def run(self, part: Path) -> tuple[str, str | None]:
        """Fetches the file under its name, going on from what the part has.

        Returns:
            Its sha256, and the commit that it is of where the server says one.
        """
        done, notes = self._resumable(part)
        if not done or done != notes["total"]:
            notes = self._receive(part, done, notes)
        return self._finish(part), as_commit(notes.get("commit"))

    def _resumable(self, part: Path) -> tuple[int, dict[str, Any]]:
        """Returns how many bytes of the part can be gone on from, and what was noted when it was begun."""
        try:
            notes, done = json.loads(_notes_of(part).read_text("utf-8")), part.stat().st_size
        except (OSError, ValueError):
            return 0, {}
        if (
            not isinstance(notes, dict)
            or type(notes.get("total")) is not int
            or not done <= notes["total"] <= self.max_bytes
        ):
            return 0, {}
        validator = notes.get("validator")
        if validator is None and self.sha256 is None:
            return 0, {}  # nothing would notice that the file is another one by now
        if validator is not None and not (
            isinstance(validator, str) and validator.isascii() and validator.isprintable()
        ):
            return 0, {}
        return done, notes

    def _receive(self, part: Path, done: int, notes: dict[str, Any]) -> dict[str, Any]:
        """Writes what the server sends to the part, behind what it has or anew; returns what was noted when it was begun."""
        with contextlib.closing(self._connect(done, notes)) as response:
            if response.status != 206:
                commit = as_commit(response.headers.get(_COMMIT))
                validator = _validator_of(response.headers)
                done, notes = 0, {"total": response.length, "validator": validator, "commit": commit}
            total = notes["total"]
            self._check_answer(response.headers, total)
            if not done:
                discard(part)
                _notes_of(part).write_text(json.dumps(notes), "utf-8")
            with part.open("ab") as file:
                self._copy(response, file, done, total)
        return notes

    def _check_answer(self, headers: HTTPMessage, total: int | None) -> None:
        """Refuses what can't be the file, before a byte is written and with what came earlier left alone."""
        if headers.get_content_type() == "text/html":
            self._refuse_page()
        if (total or 0) > self.max_bytes:
            refuse_size(self.source, total, self.max_bytes)
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise StorageError(f"{self.source.shown}: the server sent it compressed, which was not asked for.")
        if total is None and "chunked" not in headers.get("Transfer-Encoding", "").lower() and self.sha256 is None:
            raise StorageError(
                f"{self.source.shown}: the server does not say how long the file is, so a cut would go unnoticed. Pass its "
                "sha256, or download it by hand and pass its path."
            )

    def _copy(self, response: HTTPResponse, file: IO[bytes], done: int, total: int | None) -> None:
        since, seen = time.monotonic(), done
        while True:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, HTTPException) as error:
                self._refuse_connection(error, kept=done)
            if not chunk:
                break
            done += len(chunk)
            if done > self.max_bytes:
                discard(Path(file.name))
                refuse_size(self.source, done, self.max_bytes)
            file.write(chunk)
            if self.progress is not None:
                self.progress(done, total)
            now = time.monotonic()
            if now - since > self.timeout:
                if done - seen < _SLOWEST * (now - since):
                    self._refuse_connection(f"less than {_SLOWEST} bytes a second", kept=done)
                since, seen = now, done
        if total is not None and done < total:
            self._refuse_connection(f"it ended after {done} of {total} bytes", kept=done)

    def _finish(self, part: Path) -> str:
        """Gives the part its name, if it is what was meant; returns its sha256."""
        path = self.source.path
        with part.open("rb+") as file:
            os.fsync(file.fileno())
            start = file.read(64)
            file.seek(0)
            actual = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        if path.suffix in _BINARY and _is_markup(start):
            discard(part)
            self._refuse_page()
        if self.sha256 is not None and actual != self.sha256:
            discard(part)
            raise CorruptFileError(
                f"{self.source.shown}: sha256 {actual} of {size} bytes came, expected {self.sha256}; nothing was kept. Try "
                "again; if it stays so, the file there is another one now."
            )
        part.replace(path)
        _notes_of(part).unlink(missing_ok=True)
        return actual

    def _connect(self, done: int, notes: dict[str, Any]) -> HTTPResponse:
        """Returns the server's answer: 206 where it goes on after `done` bytes of the same file, else 200."""
        if done:
            wanted = {"Range": f"bytes={done}-"}
            if notes["validator"]:
                wanted["If-Range"] = notes["validator"]
            with contextlib.suppress(_RangeRefusedError):
                response = self._open(wanted)
                total, validator = notes["total"], _validator_of(response.headers)
                goes_on = response.headers.get("Content-Range") == f"bytes {done}-{total - 1}/{total}"
                same = None in (validator, notes["validator"]) or validator == notes["validator"]
                if response.status == 200 or (response.status == 206 and goes_on and same):
                    return response
                response.close()
        response = self._open({})
        if response.status != 200:
            response.close()
            refuse_answer(self.source, response.status, "it was asked for the whole file")
        return response

    def _open(self, headers: dict[str, str]) -> HTTPResponse:
        """Returns the answer to one request."""
        address = mirrored(self.source.address)
        agent = {"User-Agent": f"vit_keras/{__version__}", "Accept-Encoding": "identity"}
        request = _authorised(Request(address, headers={**agent, **headers}))
        redirects = _Redirects()
        try:
            response: HTTPResponse = build_opener(redirects).open(request, timeout=self.timeout)
        except HTTPError as error:
            error.close()
            if "Range" in headers and error.code in (412, 416):
                raise _RangeRefusedError from error
            refuse_answer(self.source, error.code, error.reason)
        except VitKerasError:
            raise
        except (OSError, HTTPException, UnicodeError) as error:  # the last of a host's name that can't be one
            self._refuse_connection(error.reason if isinstance(error, URLError) else error)
        if redirects.commit is not None:
            response.headers[_COMMIT] = redirects.commit  # which the server of the bytes does not know
        return response

    def _refuse_connection(self, reason: object, *, kept: int = 0) -> NoReturn:
        again = f"Run it again: the {kept} bytes that came are kept" if kept else "Check the connection and try again"
        raise StorageError(
            f"{self.source.shown}: could not be downloaded ({reason!s}). {again}; or download it by hand and pass its path."
        ) from (reason if isinstance(reason, BaseException) else None)

    def _refuse_page(self) -> NoReturn:
        raise CorruptFileError(
            f"{self.source.shown}: a web page came in place of the file; nothing was kept. A network that asks for a log-in "
            "does this, and so does a wrong address: open it in a browser, or download it by hand and pass its path."
        )


class _RangeRefusedError(Exception):
    """The server has no such bytes, for the file became shorter or another one."""


class _Redirects(HTTPRedirectHandler):
    """Follows to https alone, and shows the token to nobody but Hugging Face."""

    max_redirections = 5
    commit: str | None = None
    """The one that an answer on the way named."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not may_be_read(newurl, plain=req.type == "http"):
            fp.close()
            raise StorageError(
                f"{req.full_url.partition('?')[0]}: redirects to {newurl.partition('?')[0]}, which is no https address; refused."
            )
        self.commit = self.commit or as_commit(headers.get(_COMMIT))
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        return _authorised(request) if request is not None else None


def _authorised(request: Request) -> Request:
    """Returns the request with `HF_TOKEN` if it goes to Hugging Face, in a header that a redirect does not copy."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and request.type == "https" and request.host == urlsplit(HUB).netloc:
        if not token.isascii() or not token.isprintable():
            raise InvalidArgumentError("HF_TOKEN holds characters that no token has; set it anew, or unset it.")
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _validator_of(headers: HTTPMessage) -> str | None:
    """Returns what names this version of the file: a strong ETag, else the time of its last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _is_markup(start: bytes) -> bool:
    """Whether a file starts as a web page does; a safetensors file may start with "<" too, but has zeros behind it."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"\0" not in start[:8]


def _notes_of(part: Path) -> Path:
    """Returns the path of what the server said of the file when the part was begun."""
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Removes a part and its notes."""
    part.unlink(missing_ok=True)
    _notes_of(part).unlink(missing_ok=True)


def refuse_size(source: Source, size: int | None, max_bytes: int) -> NoReturn:
    """Raises `StorageError` for a file that is larger than allowed."""
    raise StorageError(
        f"{source.shown}: {size} bytes or more, and {max_bytes} are allowed; it was not kept. If it is the right file, raise "
        "max_bytes."
    )


def refuse_answer(source: Source, code: int | None, error: object) -> NoReturn:
    """Raises `StorageError` for a server's answer that is no file, with what to do about it."""
    page = re.sub(r"/resolve/.*", "", source.shown)
    if code in (401, 403) and source.shown.startswith(f"{HUB}/"):
        advice = f"It is gated, private or not there: accept its license on {page} and set HF_TOKEN to a token of yours"
    elif code in (401, 403):
        advice = "The server does not allow it"
    elif code is not None and 300 <= code < 400:
        advice = "It redirects to where nothing is read from: check the address"
    elif code in (404, 410):
        advice = "There is no such file: check the address"
    elif code == 429 or (code is not None and code >= 500):
        advice = "The server is busy: try again later"
    else:
        advice = "Check the connection and the address"
    answered = f"the server answered {code}" if code is not None else "could not be downloaded"
    raise StorageError(
        f"{source.shown}: {answered} ({error!s}). {advice}; or download it by hand and pass its path."
    ) from (error if isinstance(error, BaseException) else None)
