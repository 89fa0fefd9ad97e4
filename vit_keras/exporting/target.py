"""Where an export goes: the new file or directory takes its place only when it is complete and checked."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from vit_keras.errors import StorageError, VitKerasError

_MARKERS = ("config.json", "saved_model.pb", "export.json")  # of the directories that an export writes


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raises `StorageError` where nothing can or may be written, before any work is done."""
    if target.is_symlink():
        raise StorageError(f"{target} is a link, which is not replaced: give the path it leads to.")
    if target.exists() and not overwrite:
        raise StorageError(f"{target} exists, and nothing is overwritten: choose another name, or add overwrite=True.")
    if target.is_dir() and any(target.iterdir()) and not any((target / name).is_file() for name in _MARKERS):
        raise StorageError(
            f"{target} is not a directory that an export wrote (it has none of {', '.join(_MARKERS)}), so it is not replaced: choose "
            "another name, or remove it yourself."
        )
    folder = next(each for each in target.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StorageError(
            f"{target}: the folder {folder} can't be written to. Choose another, or change its permissions."
        )


@contextlib.contextmanager
def new_in_place_of(target: Path) -> Iterator[Path]:
    """Yields a path beside `target` to write a file or directory to, which takes its place when the block ends without an error.

    Otherwise nothing new is left, and what was at `target` is as it was.
    """
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    unfinished = target.with_name(f".unfinished-{mark}{target.suffix}")
    aside = target.with_name(f".replaced-{mark}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        _flush(unfinished)
        if target.is_dir():
            target.rename(aside)
        try:
            unfinished.replace(target)
        except OSError:
            if aside.exists():
                aside.rename(target)
            raise
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(f"{target}: could not be written ({error}).") from error
    finally:
        for path in unfinished.parent.glob(f".unfinished-{mark}*"):
            remove(path)
        if target.exists():
            remove(aside)


def remove(path: Path) -> None:
    """Removes a file or directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def path_size(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def _flush(path: Path) -> None:
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
