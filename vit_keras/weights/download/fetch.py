"""Files from the network: by https into a cache, checked before they get their name, checked again when they are used.

A file lies in `cache_folder()/<address>/<name>`. Beside it `<name>.json` records its sha256, and of a file on Hugging Face the
commit, from the first download on; `<name>.part` is what came of a download that was cut, for the next call to go on from.
"""

import contextlib
import hashlib
import importlib.util
import json
import math
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, VitKerasError
from vit_keras.runtime.files import write_text
from vit_keras.weights.download.transfer import Transfer, discard, refuse_answer, refuse_size
from vit_keras.weights.download.urls import HUB, Source, as_commit, mirrored, source_of

if sys.platform != "win32":
    import fcntl

_SWITCHED_ON = ("1", "true", "yes", "on")


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
            huggingface_hub and its cache where that is installed; a branch stays at the commit it had at the first download.
            Plain http is for this machine's own servers alone.
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
    source = source_of(url)
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
                        came, commit = Transfer(source, sha256, max_bytes, timeout, progress).run(part)
                        _write_record(source, path, came, commit)
        _check_file(path, source, sha256=sha256, max_bytes=max_bytes, verify=verify)
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: could not be read or written ({error}). VIT_KERAS_CACHE chooses another folder for downloads."
        ) from error
    return path


def _check_arguments(*, max_bytes: int, sha256: str | None, timeout: float) -> None:
    if type(max_bytes) is not int or max_bytes < 1:
        raise InvalidArgumentError(f"fetch: max_bytes={max_bytes!r} is not a positive whole number.")
    if sha256 is not None and (not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise InvalidArgumentError(f"fetch: sha256={sha256!r} is not 64 hexadecimal digits.")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise InvalidArgumentError(f"fetch: timeout={timeout!r} is not a positive number of seconds.")


def _from_hub(
    source: Source, repository: str, revision: str, file: str, *, max_bytes: int, offline: bool, timeout: float
) -> Path:
    """Returns the path in the cache of huggingface_hub, which sends its own token and goes on where a download was cut."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    endpoint = mirrored(HUB)
    # A mirror is not Hugging Face: it never sees the token. Else address and token are as huggingface_hub is set.
    server: dict[str, Any] = {"endpoint": endpoint, "token": False} if endpoint != HUB else {}
    revision = as_commit(_read_record(source.record).get("commit")) or revision
    try:
        with contextlib.suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        if offline:
            _refuse_offline(source)
        address = hf_hub_url(repository, file, revision=revision, endpoint=server.get("endpoint"))
        size = get_hf_file_metadata(address, timeout=timeout, **server).size
        if size is not None and size > max_bytes:
            refuse_size(source, size, max_bytes)
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=timeout, **server))
    except VitKerasError:
        raise
    except Exception as error:  # its transport's errors have no base in common over its versions
        response = getattr(error, "response", None)
        refuse_answer(source, getattr(response, "status_code", None), error)


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
                discard(own)


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


def _refuse_offline(source: Source) -> NoReturn:
    raise StorageError(
        f"{source.shown}: not in the cache, and offline (offline=True or VIT_KERAS_OFFLINE=1) nothing is downloaded; expected "
        f"{source.path}. Fetch it once online, or pass the path of a file that you have."
    )


def _check_file(path: Path, source: Source, *, sha256: str | None, max_bytes: int, verify: bool) -> None:
    """Compares a file of the cache with its record; its bytes are read where size or time differ, or when asked."""
    status = path.stat()
    if status.st_size > max_bytes:
        refuse_size(source, status.st_size, max_bytes)
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
        snapshot = re.search(r"/models--[^/]+/snapshots/([^/]+)/", path.as_posix())  # in huggingface_hub's cache
        commit = as_commit(snapshot[1] if snapshot else record.get("commit"))
        with contextlib.suppress(OSError):  # a cache that others wrote and we only read serves as well
            _write_record(source, path, actual, commit)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _read_record(path: Path) -> dict[str, Any]:
    """Returns what was recorded of a file, nothing where there is no record or it is damaged."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("sha256"), str) else {}


def _write_record(source: Source, path: Path, sha256: str, commit: str | None) -> None:
    size, mtime_ns = _stamp(path.stat())
    known = {"url": source.shown, "commit": commit, "sha256": sha256, "size": size, "mtime_ns": mtime_ns}
    text = json.dumps(known, indent=2) + "\n"
    record = source.record
    record.parent.mkdir(parents=True, exist_ok=True)
    write_text(record, text)
