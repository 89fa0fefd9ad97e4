"""One process at a time in a run directory."""

import contextlib
import errno
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

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_NAME = ".lock"
_LONGEST = 4096  # bytes of what its owner says of itself
_FAR = 2**30  # Windows keeps others from reading the byte that is locked, so it is one beyond what is said
_HELD = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}


class RunLock:
    """Keeps a second process out of a run directory for as long as its block runs.

    The operating system holds the lock and drops it with the process, however that ends, so a lock of a dead process is free at once,
    whoever has its number now. The file `.lock` says whose it is, and stays, empty, when the block is over.

    Args:
        path: The run directory.

    Raises:
        RunLockedError: Another process is at work there.
        StorageError: The directory is missing or can't be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, RunLock(Path(folder)):
        ...     RunLock(Path(folder)).__enter__()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        vit_keras.errors.RunLockedError: ... is in use by process ...
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1

    def __enter__(self) -> "RunLock":
        """Takes the lock, or says who has it."""
        lock = self.path / _NAME
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise StorageError(
                f"{self.path}: the run can't be locked ({error}); expected a directory that can be written."
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
        """Gives it back; the file is not removed, because somebody may have just opened it to ask for the lock."""
        with contextlib.suppress(OSError):  # what it says counts for nothing once it is free
            os.ftruncate(self._file, 0)
        _unlock(self._file)
        os.close(self._file)

    def _take(self, file: int) -> None:
        locked, owner = _lock(file), _owner(file)
        if locked is None and owner and _may_live(owner):
            raise RunLockedError(
                f"{self._said(owner)} Locks don't work on its file system: if that process is gone, remove {self.path / _NAME}."
            )
        if locked is False:
            raise RunLockedError(self._said(owner))
        said = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat("T", "seconds"),
        }
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(said).encode())

    def _said(self, owner: dict[str, Any]) -> str:
        who = (
            f"process {owner['pid']} on {owner['host']} since {owner['since']}"
            if owner
            else "another process, just now"
        )
        return f"{self.path} is in use by {who}: wait until it ends, stop it, or choose another run directory."


def _lock(file: int) -> bool | None:
    """Returns whether the lock is ours now, or None where the file system has no locks."""
    try:
        if sys.platform == "win32":
            os.lseek(file, _FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


def _unlock(file: int) -> None:
    if sys.platform == "win32":  # with the file
        return
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a child of this process has the file, too


def _owner(file: int) -> dict[str, Any]:
    """Returns what the owner says of itself; nothing where it has not yet, or no more."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(file, _LONGEST))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) and {"pid", "host", "since"} <= owner.keys() else {}


def _may_live(owner: dict[str, Any]) -> bool:
    """Whether another process may be that owner: of another computer that can't be known."""
    pid = owner["pid"]
    return owner["host"] != socket.gethostname() or (
        type(pid) is int and pid != os.getpid() and pid > 0 and psutil.pid_exists(pid)
    )
