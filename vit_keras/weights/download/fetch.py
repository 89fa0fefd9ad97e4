"""Fetches a file from the network into the cache, and checks it before every use.

A file is at `cache_folder()/<address>/<name>`. `<name>.json` beside it records its sha256, and for a file on Hugging Face the
commit. `<name>.part` is an interrupted download, which the next call resumes.
"""

import contextlib
import importlib.util
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, VitKerasError
from vit_keras.runtime.files import file_sha256, write_text
from vit_keras.validation import is_number
from vit_keras.weights.download.transfer import Transfer, discard, refuse_answer, refuse_size
from vit_keras.weights.download.urls import HUB, Source, apply_mirror, as_commit, parse_url

if sys.platform != "win32":
    import fcntl


def fetch(
    url: str,
    *,
    max_bytes: int,
    sha256: str | None = None,
    offline: bool | None = None,
    timeout: float = 30.0,
    progress: Callable[[int, int | None], object] | None = None,
) -> Path:
    """Returns the path of a file in the cache, after downloading it if it is not there.

    The file appears complete and checked, or not at all; a second process waits for the first. Without `sha256`, the hash of the
    first download is expected. `timeout` is seconds for each answer, `progress` is called with the bytes received and the total.

    `hf://owner/repository[@revision]/path` uses huggingface_hub and its cache where that is installed; a branch stays at the commit
    of its first download. `VIT_KERAS_CACHE` is the cache; `VIT_KERAS_OFFLINE=1` uses only the cache; `VIT_KERAS_MIRROR` substitutes
    servers, as `https://huggingface.co=https://mirror.example,...`; `HF_TOKEN` is sent to huggingface.co only.
    """
    if type(max_bytes) is not int or max_bytes < 1:
        raise InvalidArgumentError(f"fetch: max_bytes={max_bytes!r} is not a positive integer.")
    if sha256 is not None and (not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise InvalidArgumentError(f"fetch: sha256={sha256!r} is not 64 hexadecimal digits.")
    if not is_number(timeout) or timeout <= 0:
        raise InvalidArgumentError(f"fetch: timeout={timeout!r} is not a positive number of seconds.")
    source = parse_url(url)
    sha256 = sha256.lower() if sha256 else None
    if offline is None:
        offline = os.environ.get("VIT_KERAS_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")
    path = source.path
    try:
        if not path.is_file():
            if source.file_on_hub is not None and importlib.util.find_spec("huggingface_hub") is not None:
                path = _fetch_from_hub(
                    source, *source.file_on_hub, max_bytes=max_bytes, offline=offline, timeout=timeout
                )
            elif offline:
                _refuse_offline(source)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                with _lock_part(path, patience=timeout) as part:
                    if not path.is_file():  # another process may have been faster
                        received, commit = Transfer(source, sha256, max_bytes, timeout, progress).run(part)
                        _write_record(source, path, received, commit)
        _check_file(path, source, sha256=sha256, max_bytes=max_bytes)
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: could not be read or written ({error}). VIT_KERAS_CACHE chooses another folder for downloads."
        ) from error
    return path


def _fetch_from_hub(
    source: Source, repository: str, revision: str, file: str, *, max_bytes: int, offline: bool, timeout: float
) -> Path:
    """Returns the path in the cache of huggingface_hub, which sends its own token and resumes downloads."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    endpoint = apply_mirror(HUB)
    # A mirror never gets the token. Otherwise huggingface_hub's own settings apply.
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
    except Exception as error:  # over its versions, errors of its transport have no common base class
        response = getattr(error, "response", None)
        refuse_answer(source, getattr(response, "status_code", None), error)


@contextlib.contextmanager
def _lock_part(path: Path, *, patience: float) -> Iterator[Path]:
    """Yields a part file that no other process writes: the shared one, or a private one where that is locked."""
    part = path.with_name(f"{path.name}.part")
    with path.with_name(f"{path.name}.lock").open("ab") as lock:  # closing it, or the end of the process, unlocks it
        if _acquire(lock, part, patience):
            yield part
        else:
            private = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
            try:
                yield private
            finally:
                discard(private)


def _acquire(lock: IO[bytes], part: Path, patience: float) -> bool:
    """Waits for the lock; False where locks are not supported, or the part did not grow for `patience` seconds."""
    if sys.platform == "win32":
        return False
    last_size, since = -1, time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            size = part.stat().st_size if part.exists() else 0
            if size != last_size:
                last_size, since = size, time.monotonic()
            elif time.monotonic() - since > patience:
                return False
            time.sleep(0.05)
        except OSError:  # a file system without locks
            return False


def _refuse_offline(source: Source) -> NoReturn:
    raise StorageError(
        f"{source.shown}: not in the cache, and nothing is downloaded offline (offline=True, --offline or VIT_KERAS_OFFLINE=1); "
        f"expected {source.path}. Fetch it once online, or pass the path of a file that you have."
    )


def _check_file(path: Path, source: Source, *, sha256: str | None, max_bytes: int) -> None:
    """Compares a cached file with the expected hash; it is hashed only where size or time changed."""
    status = path.stat()
    if status.st_size > max_bytes:
        refuse_size(source, status.st_size, max_bytes)
    record = _read_record(source.record)
    recorded = record.get("sha256")
    is_unchanged = (record.get("size"), record.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    actual = str(recorded) if is_unchanged else file_sha256(path)
    expected, origin = (sha256, "the caller") if sha256 else (recorded, "the record of the first download")
    if expected is not None and actual != expected:
        raise CorruptFileError(
            f"{path}: has sha256 {actual}, and {origin} says {expected}. Remove it and {source.record} to download it again from "
            f"{source.shown}."
        )
    if not is_unchanged or actual != recorded:
        snapshot = re.search(r"/models--[^/]+/snapshots/([^/]+)/", path.as_posix())  # in huggingface_hub's cache
        commit = as_commit(snapshot[1] if snapshot else record.get("commit"))
        with contextlib.suppress(OSError):  # a read-only cache can be used too
            _write_record(source, path, actual, commit)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("sha256"), str) else {}


def _write_record(source: Source, path: Path, sha256: str, commit: str | None) -> None:
    status = path.stat()
    size_and_time = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    record = {"url": source.shown, "commit": commit, "sha256": sha256, **size_and_time}
    source.record.parent.mkdir(parents=True, exist_ok=True)
    write_text(source.record, json.dumps(record, indent=2) + "\n")
