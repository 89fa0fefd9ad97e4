"""The permissions of written files, for the tests of every writer."""

import contextlib
import os
import stat


@contextlib.contextmanager
def umask(value):
    """Sets this process's umask for a block."""
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def find_wrong_permissions(root, value):
    """Returns the permissions of what is at and below a path, where they are not those of a new file or folder."""
    wrong = {}
    for path in [root, *root.rglob("*")]:
        found = stat.S_IMODE(path.stat().st_mode)
        if found != (0o777 if path.is_dir() else 0o666) & ~value:
            wrong[str(path.relative_to(root.parent))] = oct(found)
    return wrong
