"""`--overwrite` for directories: an earlier result is kept until a new one has taken its place."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vit_keras.errors import StorageError

_MARKERS = ("run.json", "journal.jsonl", "config.json")  # of a run, a search, and a directory of weights


@contextmanager
def replace_earlier(target: Path | None, *, overwrite: bool) -> Iterator[None]:
    """Moves what is at `target` aside; after the block removes it, or moves it back if the block put nothing in its place.

    Raises:
        StorageError: The target is to be replaced, and is a directory that no command wrote.
        RunLockedError: A process is training in it.
    """
    if target is None or not overwrite or not target.exists():
        yield
        return
    check_replaceable(target)
    aside = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    target.rename(aside)
    try:
        yield
    finally:
        if not target.exists():
            aside.rename(target)
        elif aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


def check_replaceable(target: Path) -> None:
    """Raises where a path must not be replaced: a link, a directory that no command wrote, or a run in progress."""
    from vit_keras.training.runs.lock import RunLock

    if target.is_symlink():
        raise StorageError(f"{target} is a link, which --overwrite does not replace: give the path it leads to.")
    if not target.is_dir():
        return
    if not any((target / name).is_file() for name in _MARKERS):
        raise StorageError(
            f"{target} is not a directory that vit-keras wrote (it has none of {', '.join(_MARKERS)}), so --overwrite does not replace "
            "it: choose another name, or remove it yourself."
        )
    if (target / ".lock").exists():
        with RunLock(target):
            pass
