"""Downloads one file: from a server to a part file, which is checked before it gets the file's name."""

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
from vit_keras.weights.download.urls import HUB, Source, apply_mirror, as_commit, is_allowed

_CHUNK = 2**18  # bytes read at a time
_SLOWEST = 1024  # bytes per second, over one timeout; a slower server counts as hanging
_BINARY = (".safetensors", ".npz")
_COMMIT = "X-Repo-Commit"  # header of Hugging Face


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One download, with the arguments of `fetch`."""

    source: Source
    sha256: str | None
    max_bytes: int
    timeout: float
    progress: Callable[[int, int | None], object] | None

    def run(self, part: Path) -> tuple[str, str | None]:
        """Downloads the file, resuming the part."""
        done, notes = self._read_part(part)
        if not done or done != notes["total"]:
            notes = self._receive(part, done, notes)
        return self._finish(part), as_commit(notes.get("commit"))

    def _read_part(self, part: Path) -> tuple[int, dict[str, Any]]:
        """Returns the bytes of the part that can be resumed, else 0, and the notes from its start."""
        nothing: tuple[int, dict[str, Any]] = (0, {})
        try:
            notes, done = json.loads(_notes_path(part).read_text("utf-8")), part.stat().st_size
        except (OSError, ValueError):
            return nothing
        if not isinstance(notes, dict) or type(notes.get("total")) is not int:
            return nothing
        if not done <= notes["total"] <= self.max_bytes:
            return nothing
        validator = notes.get("validator")
        if validator is None:  # without a hash, nothing would detect that the server has another file now
            return nothing if self.sha256 is None else (done, notes)
        is_legal = isinstance(validator, str) and validator.isascii() and validator.isprintable()
        return (done, notes) if is_legal else nothing

    def _receive(self, part: Path, done: int, notes: dict[str, Any]) -> dict[str, Any]:
        """Appends the server's answer to the part, or starts it again; returns the notes from its start."""
        with contextlib.closing(self._connect(done, notes)) as response:
            if response.status != 206:
                commit = as_commit(response.headers.get(_COMMIT))
                validator = _find_validator(response.headers)
                done, notes = 0, {"total": response.length, "validator": validator, "commit": commit}
            total = notes["total"]
            self._check_answer(response.headers, total)
            if not done:
                discard(part)
                _notes_path(part).write_text(json.dumps(notes), "utf-8")
            with part.open("ab") as file:
                self._copy(response, file, done, total)
        return notes

    def _check_answer(self, headers: HTTPMessage, total: int | None) -> None:
        """Refuses an answer that cannot be the file, before the part is changed."""
        if headers.get_content_type() == "text/html":
            self._refuse_page()
        if (total or 0) > self.max_bytes:
            refuse_size(self.source, total, self.max_bytes)
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise StorageError(f"{self.source.shown}: the server sent it compressed, which was not requested.")
        if total is None and "chunked" not in headers.get("Transfer-Encoding", "").lower() and self.sha256 is None:
            raise StorageError(
                f"{self.source.shown}: the server does not say how long the file is, so a truncated file could not be detected. Pass "
                "its sha256, or download it by hand and pass its path."
            )

    def _copy(self, response: HTTPResponse, file: IO[bytes], done: int, total: int | None) -> None:
        since, done_then = time.monotonic(), done
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
                if done - done_then < _SLOWEST * (now - since):
                    self._refuse_connection(f"less than {_SLOWEST} bytes per second", kept=done)
                since, done_then = now, done
        if total is not None and done < total:
            self._refuse_connection(f"it ended after {done} of {total} bytes", kept=done)

    def _finish(self, part: Path) -> str:
        """Checks the part and gives it the file's name; returns its sha256."""
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
                f"{self.source.shown}: the {size} bytes received have sha256 {actual}, expected {self.sha256}; they were deleted. "
                "Try again; if the error persists, the server has another file now."
            )
        part.replace(path)
        _notes_path(part).unlink(missing_ok=True)
        return actual

    def _connect(self, done: int, notes: dict[str, Any]) -> HTTPResponse:
        """Returns the server's answer: with status 206 where it resumes the same file after `done` bytes, else 200."""
        if done:
            headers = {"Range": f"bytes={done}-"}
            if notes["validator"]:
                headers["If-Range"] = notes["validator"]
            with contextlib.suppress(_RangeRefusedError):
                response = self._open(headers)
                total, validator = notes["total"], _find_validator(response.headers)
                is_rest = response.headers.get("Content-Range") == f"bytes {done}-{total - 1}/{total}"
                is_same = None in (validator, notes["validator"]) or validator == notes["validator"]
                if response.status == 200 or (response.status == 206 and is_rest and is_same):
                    return response
                response.close()
        response = self._open({})
        if response.status != 200:
            response.close()
            refuse_answer(self.source, response.status, "the whole file was requested")
        return response

    def _open(self, headers: dict[str, str]) -> HTTPResponse:
        agent = {"User-Agent": f"vit_keras/{__version__}", "Accept-Encoding": "identity"}
        request = _authorize(Request(apply_mirror(self.source.address), headers={**agent, **headers}))
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
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: an illegal host name
            self._refuse_connection(error.reason if isinstance(error, URLError) else error)
        if redirects.commit is not None:  # the server that sends the bytes does not know it
            response.headers[_COMMIT] = redirects.commit
        return response

    def _refuse_connection(self, reason: object, *, kept: int = 0) -> NoReturn:
        again = f"Run it again: the {kept} bytes received are kept" if kept else "Check the connection and try again"
        raise StorageError(
            f"{self.source.shown}: could not be downloaded ({reason!s}). {again}; or download it by hand and pass its path."
        ) from (reason if isinstance(reason, BaseException) else None)

    def _refuse_page(self) -> NoReturn:
        raise CorruptFileError(
            f"{self.source.shown}: the server sent a web page instead of the file. A network that asks for a log-in does this, and "
            "so does a wrong address: open it in a browser, or download it by hand and pass its path."
        )


class _RangeRefusedError(Exception):
    """The server does not have these bytes: the file became shorter or was replaced."""


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to https only, and sends the token to Hugging Face only."""

    max_redirections = 5
    commit: str | None = None  # as an answer on the way stated it

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not is_allowed(newurl, plain=req.type == "http"):
            fp.close()
            raise StorageError(
                f"{req.full_url.partition('?')[0]}: redirects to {newurl.partition('?')[0]}, which is not an https address; refused."
            )
        self.commit = self.commit or as_commit(headers.get(_COMMIT))
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        return _authorize(request) if request is not None else None


def _authorize(request: Request) -> Request:
    """Adds `HF_TOKEN` to a request to Hugging Face, in a header that redirects do not copy."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and request.type == "https" and request.host == urlsplit(HUB).netloc:
        if not token.isascii() or not token.isprintable():
            raise InvalidArgumentError("HF_TOKEN has illegal characters; set it again, or unset it.")
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _find_validator(headers: HTTPMessage) -> str | None:
    """Returns the version of the file: a strong ETag, else the time of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _is_markup(start: bytes) -> bool:
    # A safetensors file may start with "<" too, but has zeros in its first 8 bytes.
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"\0" not in start[:8]


def _notes_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Removes a part and its notes."""
    part.unlink(missing_ok=True)
    _notes_path(part).unlink(missing_ok=True)


def refuse_size(source: Source, size: int | None, max_bytes: int) -> NoReturn:
    """Raises `StorageError` for a file that is too large."""
    raise StorageError(
        f"{source.shown}: at least {size} bytes, and {max_bytes} are allowed. If it is the right file, raise max_bytes."
    )


def refuse_answer(source: Source, code: int | None, error: object) -> NoReturn:
    """Raises `StorageError` for a server's answer that is not the file."""
    page = re.sub(r"/resolve/.*", "", source.shown)
    if code in (401, 403) and source.shown.startswith(f"{HUB}/"):
        advice = f"It is gated, private or missing: accept its license on {page} and set HF_TOKEN to your token"
    elif code in (401, 403):
        advice = "The server does not allow it"
    elif code is not None and 300 <= code < 400:
        advice = "It redirects to an address that is not allowed: check the address"
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
