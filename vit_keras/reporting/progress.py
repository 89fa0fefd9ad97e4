"""Progress bars, in a terminal or a notebook."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS = 0.25  # between two updates of a notebook's bar

Update = Callable[[float, float, str], None]
"""Moves a bar to `done` of `total`, with a text behind it; the first call shows the bar."""


def standard_console() -> Console:
    """Returns the default console, on stdout; in a notebook its lines are one output of the cell."""
    # A kernel asks for colors by FORCE_COLOR, which rich takes for a terminal.
    is_terminal = False if in_notebook() else None
    return Console(highlight=False, soft_wrap=True, markup=False, force_jupyter=False, force_terminal=is_terminal)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


@contextmanager
def progress_bar(console: Console, name: str, *, shows_time: bool = True) -> Iterator[Update]:
    """Yields a function that moves a bar; the bar is removed after the block, and shown only in a terminal or a notebook."""
    if in_notebook() and console.file in (sys.stdout, sys.stderr):
        yield from _notebook_bar(name)
    elif console.is_terminal:
        yield from _terminal_bar(console, name, shows_time=shows_time)
    else:
        yield _show_nothing


def _show_nothing(done: float, total: float, text: str = "") -> None:
    """Stands for a bar where none can be shown."""


def _terminal_bar(console: Console, name: str, *, shows_time: bool) -> Iterator[Update]:
    time_left = (TimeRemainingColumn(), TextColumn("left")) if shows_time else ()
    columns = (TextColumn(name), BarColumn(), TextColumn("{task.description}"), *time_left)
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task("", total=None, start=False)

    def update(done: float, total: float, text: str = "") -> None:
        if not progress.live.is_started:
            progress.start()
            progress.start_task(task)
        progress.update(task, completed=done, total=total, description=text)

    try:
        yield update
    finally:
        progress.stop()


def _notebook_bar(name: str) -> Iterator[Update]:
    from IPython import display

    show: Any = display.display  # has no types
    handle: Any = None
    shown = 0.0

    def update(done: float, total: float, text: str = "") -> None:
        nonlocal handle, shown
        if handle is not None and time.monotonic() - shown < _SECONDS:
            return
        shown = time.monotonic()
        bar = f'<progress value="{done}" max="{total}" style="width: 20em"></progress>'
        content = {"text/html": f"{escape(name)} {bar} {escape(text)}", "text/plain": f"{name} {text}"}
        if handle is None:
            handle = show(content, raw=True, display_id=True)
        else:
            handle.update(content, raw=True)

    try:
        yield update
    finally:
        if handle is not None:
            handle.update({"text/html": "", "text/plain": ""}, raw=True)
