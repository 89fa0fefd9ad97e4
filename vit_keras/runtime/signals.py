"""Ctrl-C and SIGTERM, heard but not obeyed at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Aborted(KeyboardInterrupt):
    """The second Ctrl-C or SIGTERM: nothing more is saved."""


class Interruption:
    """Notes the first Ctrl-C or SIGTERM inside its block, so that the step can be finished and saved; the second one ends it all.

    Outside the main thread, where signals can't be heard, it notes nothing.

    Args:
        on_first: Called with the first, such as to say that it was heard.

    Example:
        >>> with Interruption() as interruption:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interruption.asked
        True
    """

    def __init__(self, on_first: Callable[[], object] | None = None) -> None:
        self.asked = False
        self._on_first = on_first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        """Begins to listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Gives the signals back to who had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise Aborted
        self.asked = True
        if self._on_first is not None:
            self._on_first()
