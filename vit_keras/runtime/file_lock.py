"""A lock of the operating system on an open file, which ends with its process."""

import errno
import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FAR = 2**30  # Windows makes the locked byte unreadable, so lock one behind the content
_HELD = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}


def try_lock(file: int, *, shared: bool = False) -> bool | None:
    """Returns whether this process now holds the lock, or None where the system or the file system has no such locks.

    Args:
        file: Its descriptor.
        shared: Whether others may hold it, too, if they share it.
    """
    try:
        if sys.platform == "win32":
            if shared:
                return None
            os.lseek(file, _FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True
