"""Files from the network: by https into a cache, checked before they get their name, checked again when they are used.

A file lies in `cache_folder()/<address>/<name>`. Beside it `<name>.json` records its sha256, from the first download on, and
`<name>.part` is what came of a download that was cut, for the next call to go on from.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import ipaddress
import json
import math
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, VitKerasError
from vit_keras.version import __version__

if sys.platform != "win32":
    import fcntl

_HUB = "https://huggingface.co"
_CHUNK = 2**18  # bytes read at a time
_SLOWEST = 1024  # bytes a second, over one timeout; what is slower hangs
_LONGEST_ADDRESS = 4096
_BINARY = (".safetensors", ".npz")
_SWITCHED_ON = ("1", "true", "yes", "on")


def cache_folder() -> Path:
    """Returns where downloads are kept: `VIT_KERAS_CACHE`, else `vit_keras` in `KERAS_HOME`, else `~/.keras/vit_keras`."""
    folder = os.environ.get("VIT_KERAS_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "vit_keras"


def fetch(
    url: str,
    *,
    max_bytes: int,
    sha256: str | None = None,
    offline: bool | None = None,
    timeout: float = 30.0,
    progress: Callable[[int, int | None], object] | None = None,
    verify: bool = False,
) -> Path:
    """Returns the path of a file from the network, which is in the cache from then on.

    The file appears under its name whole and checked, or not at all. A download that was cut, by Ctrl-C too, goes on where it
    stopped when the server can do that and still has the same file. A second process waits for the first.

    Environment: `VIT_KERAS_CACHE` is the cache; `VIT_KERAS_OFFLINE=1` uses it alone; `VIT_KERAS_MIRROR` takes other servers,
    as `https://huggingface.co=https://mirror.example,...`; `HF_TOKEN` is shown to huggingface.co alone.

    Args:
        url: `https://...`, or `hf://owner/repository[@revision]/path` for a file on Hugging Face, which goes through
            huggingface_hub and its cache where that is installed. Plain http is for this machine's own servers alone.
        max_bytes: More than this is refused.
        sha256: What the file must hash to, in hexadecimal. None records it at the first download.
        offline: Whether to look in the cache only; None as `VIT_KERAS_OFFLINE` says.
        timeout: Seconds to wait for the server each time.
        progress: Called with the bytes there are and those there will be, None where the server does not say.
        verify: Hashes a file that is in the cache already, in place of comparing its size and time with the record.

    Raises:
        InvalidArgumentError: The address or another argument is not legal.
        StorageError: It could not be downloaded, is too large, is not in the cache when offline, or could not be written.
        CorruptFileError: What came, or what is in the cache, is not the file that is meant.

    Example:
        >>> fetch("http://example.org/model.safetensors", max_bytes=2**30)
        Traceback (most recent call last):
            ...
        vit_keras.errors.InvalidArgumentError: http://example.org/model.safetensors: only https addresses are read.
    """
    _check_arguments(max_bytes=max_bytes, sha256=sha256, timeout=timeout)
    source = _source_of(url)
    sha256 = sha256.lower() if sha256 else None
    if offline is None:
        offline = os.environ.get("VIT_KERAS_OFFLINE", "").strip().lower() in _SWITCHED_ON
    path = source.path
    try:
        if not path.is_file():
            if source.file_on_hub is not None and importlib.util.find_spec("huggingface_hub") is not None:
                path = _from_hub(source, *source.file_on_hub, max_bytes=max_bytes, offline=offline, timeout=timeout)
            elif offline:
                _refuse_offline(source)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                with _claimed_part(path, patience=timeout) as part:
                    if not path.is_file():  # another process may have been faster
                        _Transfer(source, sha256, max_bytes, timeout, progress).run(part)
        _check_file(path, source, sha256=sha256, max_bytes=max_bytes, verify=verify)
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: could not be read or written ({error}). VIT_KERAS_CACHE chooses another folder for downloads."
        ) from error
    return path


@dataclasses.dataclass(frozen=True)
class _Source:
    """An address, where its file lies in the cache, and how messages call it."""

    address: str
    file_on_hub: tuple[str, str, str] | None = None  # repository, revision, path

    @property
    def shown(self) -> str:
        """The address without its query, which may hold a secret."""
        return self.address.partition("?")[0]

    @property
    def path(self) -> Path:
        """One folder an address, made of harmless characters; the hash keeps apart what those make alike."""
        parts = urlsplit(self.address)
        digest = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{parts.hostname}{parts.path}").strip("._-")
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", parts.path.rpartition("/")[2]).strip("._-")[-80:]
        return cache_folder() / f"{words[-80:].strip('._-')}-{digest}" / (name or "file")

    @property
    def record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def _check_arguments(*, max_bytes: int, sha256: str | None, timeout: float) -> None:
    if type(max_bytes) is not int or max_bytes < 1:
        raise InvalidArgumentError(f"fetch: max_bytes={max_bytes!r} is not a positive whole number.")
    if sha256 is not None and (not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise InvalidArgumentError(f"fetch: sha256={sha256!r} is not 64 hexadecimal digits.")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise InvalidArgumentError(f"fetch: timeout={timeout!r} is not a positive number of seconds.")


def _source_of(url: str) -> _Source:
    if (
        not isinstance(url, str)
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or len(url) > _LONGEST_ADDRESS
    ):
        raise InvalidArgumentError(
            f"{str(url)[:200]!r} is no address: expected up to {_LONGEST_ADDRESS} printable ASCII characters, others as %XX."
        )
    if not url.startswith("hf://"):
        url = url.partition("#")[0]
        if not _may_be_read(url):
            raise InvalidArgumentError(f"{url.partition('?')[0]}: only https addresses are read.")
        return _Source(url)
    match = re.fullmatch(r"hf://(\w[\w.-]*/\w[\w.-]*)(?:@([^@/?#]+))?/([^?#\\]+)", url)
    if match is None or any(part in ("", ".", "..") for part in match[3].split("/")) or match[2] in (".", ".."):
        raise InvalidArgumentError(
            f"{url}: no file on Hugging Face; expected hf://owner/repository/path or hf://owner/repository@revision/path."
        )
    repository, revision, path = match[1], match[2] or "main", match[3]
    address = f"{_HUB}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"
    return _Source(address, (repository, revision, path))


def _may_be_read(address: str, *, plain: bool = True) -> bool:
    """Whether the address is https, or `plain` http to this very machine; without a user's name in it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port  # a port that is none raises here
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (plain and parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _mirrored(address: str) -> str:
    """Returns the address that `VIT_KERAS_MIRROR` puts in this one's place."""
    for pair in os.environ.get("VIT_KERAS_MIRROR", "").split(","):
        if not pair.strip():
            continue
        original, _, mirror = (word.strip().rstrip("/") for word in pair.partition("="))
        if not original or not _may_be_read(mirror):
            raise InvalidArgumentError(
                f"VIT_KERAS_MIRROR has the entry {pair.strip()!r}; expected https://original=https://mirror, with commas between."
            )
        if address == original or address.startswith(f"{original}/"):
            return mirror + address[len(original) :]
    return address


def _from_hub(
    source: _Source, repository: str, revision: str, file: str, *, max_bytes: int, offline: bool, timeout: float
) -> Path:
    """Returns the path in the cache of huggingface_hub, which sends its own token and goes on where a download was cut."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    endpoint = _mirrored(_HUB)
    # A mirror is not Hugging Face: it never sees the token. Else address and token are as huggingface_hub is set.
    server: dict[str, Any] = {"endpoint": endpoint, "token": False} if endpoint != _HUB else {}
    try:
        with contextlib.suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        if offline:
            _refuse_offline(source)
        address = hf_hub_url(repository, file, revision=revision, endpoint=server.get("endpoint"))
        size = get_hf_file_metadata(address, timeout=timeout, **server).size
        if size is not None and size > max_bytes:
            _refuse_size(source, size, max_bytes)
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=timeout, **server))
    except VitKerasError:
        raise
    except Exception as error:  # its transport's errors have no base in common over its versions
        response = getattr(error, "response", None)
        _refuse_answer(source, getattr(response, "status_code", None), error)


@contextlib.contextmanager
def _claimed_part(path: Path, *, patience: float) -> Iterator[Path]:
    """Yields a file that nobody else writes: one to go on from, or one for this call alone where that is taken."""
    part = path.with_name(f"{path.name}.part")
    with path.with_name(f"{path.name}.lock").open("ab") as lock:
        if _wait_for(lock, part, patience):
            yield part  # closing the file opens the lock, and so does the end of the process
        else:
            own = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
            try:
                yield own
            finally:
                _discard(own)


def _wait_for(lock: IO[bytes], part: Path, patience: float) -> bool:
    """Returns whether the lock is ours; not where there are none, or its holder has written nothing for so many seconds."""
    if sys.platform == "win32":
        return False
    seen, since = -1, time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            size = part.stat().st_size if part.exists() else 0
            if size != seen:
                seen, since = size, time.monotonic()
            elif time.monotonic() - since > patience:
                return False
            time.sleep(0.05)
        except OSError:  # a file system without locks
            return False


def _notes_of(part: Path) -> Path:
    """Returns the path of what the server said of the file when the part was begun."""
    return part.with_name(f"{part.name}.json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes_of(part).unlink(missing_ok=True)


class _RangeRefusedError(Exception):
    """The server has no such bytes, for the file became shorter or another one."""


@dataclasses.dataclass(frozen=True)
class _Transfer:
    """One download: from the server to a part file, from that to the file's name."""

    source: _Source
    sha256: str | None
    max_bytes: int
    timeout: float
    progress: Callable[[int, int | None], object] | None

    def run(self, part: Path) -> None:
        done, notes = self._resumable(part)
        if not done or done != notes["total"]:
            self._receive(part, done, notes)
        self._finish(part)

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

    def _receive(self, part: Path, done: int, notes: dict[str, Any]) -> None:
        """Writes what the server sends to the part, behind what it has or anew."""
        with contextlib.closing(self._connect(done, notes)) as response:
            if response.status != 206:
                done, notes = 0, {"total": response.length, "validator": _validator_of(response.headers)}
            total = notes["total"]
            self._check_answer(response.headers, total)
            if not done:
                _discard(part)
                _notes_of(part).write_text(json.dumps(notes), "utf-8")
            with part.open("ab") as file:
                self._copy(response, file, done, total)

    def _check_answer(self, headers: HTTPMessage, total: int | None) -> None:
        """Refuses what can't be the file, before a byte is written and with what came earlier left alone."""
        if headers.get_content_type() == "text/html":
            self._refuse_page()
        if (total or 0) > self.max_bytes:
            _refuse_size(self.source, total, self.max_bytes)
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
                _discard(Path(file.name))
                _refuse_size(self.source, done, self.max_bytes)
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

    def _finish(self, part: Path) -> None:
        """Gives the part its name, if it is what was meant."""
        path = self.source.path
        with part.open("rb+") as file:
            os.fsync(file.fileno())
            start = file.read(64)
            file.seek(0)
            actual = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        if path.suffix in _BINARY and _is_markup(start):
            _discard(part)
            self._refuse_page()
        if self.sha256 is not None and actual != self.sha256:
            _discard(part)
            raise CorruptFileError(
                f"{self.source.shown}: sha256 {actual} of {size} bytes came, expected {self.sha256}; nothing was kept. Try "
                "again; if it stays so, the file there is another one now."
            )
        part.replace(path)
        _notes_of(part).unlink(missing_ok=True)
        _write_record(self.source.record, path, actual, self.source.shown)

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
            _refuse_answer(self.source, response.status, "it was asked for the whole file")
        return response

    def _open(self, headers: dict[str, str]) -> HTTPResponse:
        """Returns the answer to one request."""
        address = _mirrored(self.source.address)
        agent = {"User-Agent": f"vit_keras/{__version__}", "Accept-Encoding": "identity"}
        request = _authorised(Request(address, headers={**agent, **headers}))
        try:
            response: HTTPResponse = build_opener(_Redirects()).open(request, timeout=self.timeout)
        except HTTPError as error:
            error.close()
            if "Range" in headers and error.code in (412, 416):
                raise _RangeRefusedError from error
            _refuse_answer(self.source, error.code, error.reason)
        except VitKerasError:
            raise
        except (OSError, HTTPException, UnicodeError) as error:  # the last of a host's name that can't be one
            self._refuse_connection(error.reason if isinstance(error, URLError) else error)
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


class _Redirects(HTTPRedirectHandler):
    """Follows to https alone, and shows the token to nobody but Hugging Face."""

    max_redirections = 5

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not _may_be_read(newurl, plain=req.type == "http"):
            fp.close()
            raise StorageError(
                f"{req.full_url.partition('?')[0]}: redirects to {newurl.partition('?')[0]}, which is no https address; refused."
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        return _authorised(request) if request is not None else None


def _authorised(request: Request) -> Request:
    """Returns the request with `HF_TOKEN` if it goes to Hugging Face, in a header that a redirect does not copy."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and request.type == "https" and request.host == urlsplit(_HUB).netloc:
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


def _refuse_offline(source: _Source) -> NoReturn:
    raise StorageError(
        f"{source.shown}: not in the cache, and offline (offline=True or VIT_KERAS_OFFLINE=1) nothing is downloaded; expected "
        f"{source.path}. Fetch it once online, or pass the path of a file that you have."
    )


def _refuse_size(source: _Source, size: int | None, max_bytes: int) -> NoReturn:
    raise StorageError(
        f"{source.shown}: {size} bytes or more, and {max_bytes} are allowed; it was not kept. If it is the right file, raise "
        "max_bytes."
    )


def _refuse_answer(source: _Source, code: int | None, error: object) -> NoReturn:
    page = re.sub(r"/resolve/.*", "", source.shown)
    if code in (401, 403) and source.shown.startswith(f"{_HUB}/"):
        advice = f"It is gated, private or not there: accept its licence on {page} and set HF_TOKEN to a token of yours"
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


def _check_file(path: Path, source: _Source, *, sha256: str | None, max_bytes: int, verify: bool) -> None:
    """Compares a file of the cache with its record; its bytes are read where size or time differ, or when asked."""
    status = path.stat()
    if status.st_size > max_bytes:
        _refuse_size(source, status.st_size, max_bytes)
    record = _read_record(source.record)
    recorded = record.get("sha256")
    unchanged = (record.get("size"), record.get("mtime_ns")) == _stamp(status)
    if unchanged and not verify:
        actual = str(recorded)
    else:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    expected, said_by = (sha256, "the caller") if sha256 else (recorded, "the record of the first download")
    if expected is not None and actual != expected:
        raise CorruptFileError(
            f"{path}: has sha256 {actual}, and {said_by} says {expected}. Remove it and {source.record}, and it is downloaded "
            f"from {source.shown} again."
        )
    if not unchanged or actual != recorded:
        with contextlib.suppress(OSError):  # a cache that others wrote and we only read serves as well
            _write_record(source.record, path, actual, source.shown)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _read_record(path: Path) -> dict[str, Any]:
    """Returns what was recorded of a file, nothing where there is no record or it is damaged."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("sha256"), str) else {}


def _write_record(record: Path, path: Path, sha256: str, shown: str) -> None:
    size, mtime_ns = _stamp(path.stat())
    text = json.dumps({"url": shown, "sha256": sha256, "size": size, "mtime_ns": mtime_ns}, indent=2) + "\n"
    record.parent.mkdir(parents=True, exist_ok=True)
    unfinished = record.with_name(f"{record.name}.{os.getpid()}-{secrets.token_hex(4)}")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(record)
