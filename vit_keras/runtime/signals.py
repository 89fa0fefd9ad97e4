"""Graceful shutdown on Ctrl-C and SIGTERM: the first signal finishes the step, the second aborts."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

RESUMABLE = 75
"""Exit code of a run that the same command resumes (EX_TEMPFAIL)."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Aborted(KeyboardInterrupt):
    """The second signal: nothing more is saved; what was saved before is in `run_directory`, if there is one."""

    run_directory: Path | None = None


class Interruption:
    """Records the first Ctrl-C or SIGTERM inside its `with` block in `asked` and calls `on_first`; the second one raises `Aborted`.

    Outside the main thread, where Python handles no signals, it does nothing.
    """

    def __init__(self, on_first: Callable[[], object] | None = None) -> None:
        self.asked = False
        self._on_first = on_first
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise Aborted
        self.asked = True
        if self._on_first is not None:
            self._on_first()
