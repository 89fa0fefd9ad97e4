"""A lock that keeps a second process out of a run directory."""

import contextlib
import json
import os
import socket
import sys
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from vit_keras.errors import RunLockedError, StorageError
from vit_keras.runtime.file_lock import try_lock

if sys.platform != "win32":
    import fcntl

_NAME = ".lock"
_MAX_BYTES = 4096  # of the description of the owner


class RunLock:
    """Context manager that keeps a second process out of a run directory, with `RunLockedError`.

    The operating system releases the lock when the process ends, however it ends. The file `.lock` describes the owner; after the block it
    stays, empty. Several processes that share the directory, as those of a search do, all pass `shared`; they keep out the others.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self._file = -1

    def __enter__(self) -> "RunLock":
        """Takes the lock."""
        lock = self.path / _NAME
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise StorageError(
                f"{self.path}: the run cannot be locked ({error}); expected a writable directory."
            ) from error
        try:
            self._take(file)
        except OSError as error:
            os.close(file)
            raise StorageError(f"{lock}: could not be written ({error}).") from error
        except RunLockedError:
            os.close(file)
            raise
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Releases the lock. The file is not removed, because another process may have just opened it to take the lock."""
        with contextlib.suppress(OSError):  # the description has no effect once the lock is free
            os.ftruncate(self._file, 0)
        if sys.platform != "win32":  # there, closing the file releases it
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._file, fcntl.LOCK_UN)  # closing is not enough where a child process has the file open
        os.close(self._file)

    def _take(self, file: int) -> None:
        locked, owner = try_lock(file, shared=self.shared), _owner(file)
        if locked is None and owner and _may_live(owner) and not self.shared:
            raise RunLockedError(
                f"{self._describe(owner)} Its file system has no locks: if that process has ended, remove {self.path / _NAME}."
            )
        if locked is False:
            raise RunLockedError(self._describe(owner))
        description = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat("T", "seconds"),
        }
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(description).encode())

    def _describe(self, owner: dict[str, Any]) -> str:
        who = (
            f"process {owner['pid']} on {owner['host']} since {owner['since']}"
            if owner
            else "another process, just now"
        )
        return f"{self.path} is in use by {who}: wait until it ends, stop it, or use another run directory."


def _owner(file: int) -> dict[str, Any]:
    os.lseek(file, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(file, _MAX_BYTES))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) and {"pid", "host", "since"} <= owner.keys() else {}


def _may_live(owner: dict[str, Any]) -> bool:
    """Returns whether the owner may be another running process; on another host this is unknown."""
    pid = owner["pid"]
    return owner["host"] != socket.gethostname() or (
        type(pid) is int and pid != os.getpid() and pid > 0 and psutil.pid_exists(pid)
    )
