"""Whether the graph that is being traced runs in this process only, so that it may hold operations that no exported model may have."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_is_local: ContextVar[bool] = ContextVar("is_local", default=False)


@contextlib.contextmanager
def local_graph() -> Iterator[None]:
    """Marks what is traced inside, such as the step of `predict`, as a graph that is never exported."""
    token = _is_local.set(True)
    try:
        yield
    finally:
        _is_local.reset(token)


def is_local_graph() -> bool:
    """Returns whether `local_graph` is active: False for the inference graphs that an export traces.

    >>> with local_graph():
    ...     is_local_graph()
    True
    >>> is_local_graph()
    False
    """
    return _is_local.get()
