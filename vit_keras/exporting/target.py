"""Where an export goes: the new file or directory takes its place only when it is complete and checked."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from vit_keras.errors import StorageError, VitKerasError

_MARKERS = ("config.json", "saved_model.pb", "export.json")  # of the directories that an export writes


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raises `StorageError` where nothing can or may be written, before any work is done."""
    if target.is_symlink():
        raise StorageError(f"{target} is a link, which is not replaced: give the path it leads to.")
    if target.exists() and not overwrite:
        raise StorageError(f"{target} exists, and nothing is overwritten: choose another name, or add overwrite=True.")
    if data_beside(target).exists() and not overwrite:
        raise StorageError(
            f"{data_beside(target)} exists, where the weights of a large {target.name} would be stored: choose another name, or add "
            "overwrite=True."
        )
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


def data_beside(path: Path) -> Path:
    """Returns where the weights of an ONNX file are if they are too large for it."""
    return path.with_name(f"{path.name}.data")


@contextlib.contextmanager
def new_in_place_of(target: Path) -> Iterator[Path]:
    """Yields a path to write a file or directory to, which takes the place of `target` when the block ends without an error.

    It has the name of `target`, in a new folder beside it; `data_beside` of it is moved, too. Otherwise nothing new is left, and what was
    at `target` is as it was.
    """
    folder = target.with_name(f".unfinished-{os.getpid()}-{secrets.token_hex(4)}")
    unfinished, aside, is_done = folder / target.name, folder / "replaced", False
    missing = [each for each in target.absolute().parents if not each.exists()]
    try:
        folder.mkdir(parents=True)
        yield unfinished
        moves = {each: target.with_name(each.name) for each in (data_beside(unfinished), unfinished) if each.exists()}
        for path in moves:
            _flush(path)
        _move(moves, aside=aside)
        is_done = True
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(f"{target}: could not be written ({error}).") from error
    finally:
        if is_done or not aside.is_dir() or not any(aside.iterdir()):  # else it has what could not be put back
            remove(folder)
        for each in missing:
            with contextlib.suppress(OSError):  # it holds the target now
                each.rmdir()


def _move(moves: Mapping[Path, Path], *, aside: Path) -> None:
    """Moves all, or on an error none; what was there is moved to the folder `aside`."""
    aside.mkdir()
    undo: list[tuple[Path, Path]] = []
    try:
        for new, path in moves.items():
            if path.exists():
                path.rename(aside / path.name)
                undo.append((aside / path.name, path))
            new.rename(path)
            undo.append((path, new))
    except BaseException:  # Ctrl-C, too
        for moved, path in reversed(undo):
            moved.rename(path)
        raise


def remove(path: Path) -> None:
    """Removes a file or directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def path_size(path: Path) -> int:
    """Returns the bytes of a file and of its data beside it, or of all files in a directory."""
    if path.is_file():
        return path.stat().st_size + (data_beside(path).stat().st_size if data_beside(path).is_file() else 0)
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def _flush(path: Path) -> None:
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
