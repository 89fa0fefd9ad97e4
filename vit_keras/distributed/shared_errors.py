"""Errors of one process that all processes of a launch raise, so that none waits for another that has ended."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vit_keras import errors
from vit_keras.distributed.cluster import gather, process_count


@contextmanager
def share_errors(*, together: bool = True) -> Iterator[None]:
    """Raises on every process the error that one of them raises inside the block, such as that of a full disk.

    Every process enters the block at the same place, and meets no other inside it; after it, all have left it. Errors of files and of this
    library are shared; after any other, the process ends by itself. `together=False` is for a block that this process enters alone.

    Raises:
        VitKerasError: The error of the first process that has one, of its own class, with the number and host of the process; where all
            have the same error, that.
    """
    if not together or process_count() == 1:
        yield
        return
    fault: Exception | None = None
    try:
        yield
    except (errors.VitKerasError, OSError) as error:
        fault = error
    found = gather(None if fault is None else _describe(fault))
    number, first = next(((number, each) for number, each in enumerate(found) if each), (0, None))
    if fault is not None and all(each and each["text"] == str(fault) for each in found):
        raise fault  # of all
    if first is not None:
        kind = getattr(errors, first["kind"])
        raise kind(f"Process {number} on {first['host']}: {first['text']}") from fault


def _describe(error: Exception) -> dict[str, Any]:
    """Returns the nearest class of `vit_keras.errors`, the text and the host of an error, as JSON holds them."""
    names = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return {"kind": next(names, errors.StorageError.__name__), "text": str(error), "host": socket.gethostname()}
