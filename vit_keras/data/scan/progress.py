"""A progress bar over files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from vit_keras.reporting.progress import progress_bar


@contextmanager
def file_progress(console: Console, *, doing: str = "checking") -> Iterator[Callable[[int, int], None]]:
    """Yields a function of the files done and all files; the bar appears with its first call."""
    with progress_bar(console, doing) as update:
        yield lambda done, total: update(done, total, f"{done:,}/{total:,} files")
