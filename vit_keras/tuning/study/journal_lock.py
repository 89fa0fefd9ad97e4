"""A lock between processes and machines: a file that only one of them can create."""

import contextlib
import os
import random
import secrets
import time
from pathlib import Path
from types import TracebackType

from vit_keras.errors import StorageError

GRACE_SECONDS = 10.0
"""Time without a change of the lock file, after which its owner counts as dead or stopped."""
_WAIT_SECONDS = (0.002, 0.05)


class JournalLock:
    """Context manager that lets one process at a time write to a journal, on any file system that several machines share.

    Locks of the system are not used: a stopped process would keep one forever, and some network file systems have none. Exclusive
    creation of a file works on all, NFS version 3 and later included. The owner's token stands in the file; who waits and sees no
    other token for `grace` seconds by its own clock removes the file. So the lock is a courtesy: where it was taken from a process that
    was only slow, two processes may write at once, which the numbers of the journal's records resolve.

    Args:
        path: The file of the lock; it exists while the lock is held.
        grace: Seconds after which an unchanged lock is taken from its owner.
    """

    def __init__(self, path: Path, *, grace: float = GRACE_SECONDS) -> None:
        self.path = path
        self.grace = grace
        self._token = b""

    def __enter__(self) -> "JournalLock":
        """Waits for the lock and takes it."""
        self._token = secrets.token_hex(8).encode()
        seen, since = None, time.monotonic()
        while not self._create():
            content = self._read()
            if content is None or content != seen:
                seen, since = content, time.monotonic()
            elif time.monotonic() - since > self.grace:
                self._remove()
            time.sleep(random.uniform(*_WAIT_SECONDS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Releases the lock, unless another process took it."""
        if self._read() == self._token:
            self._remove()

    def _create(self) -> bool:
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(f"{self.path}: could not be written ({error}).") from error
        try:
            os.write(file, self._token)
        except OSError as error:
            self._remove()
            raise StorageError(f"{self.path}: could not be written ({error}).") from error
        finally:
            os.close(file)
        return True

    def _read(self) -> bytes | None:
        """Returns the token in the file; None where there is no file."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.path}: could not be read ({error}).") from error

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # another process removed it, or one that waits will
            self.path.unlink()
