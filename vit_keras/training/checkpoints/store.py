"""The last states of a training run on disk: written beside the training, read only where every byte is as it was written."""

import contextlib
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from vit_keras.errors import (
    CheckpointCorruptError,
    CorruptFileError,
    InvalidArgumentError,
    StorageError,
    UnsafeFileError,
    VitKerasError,
    WeightMismatchError,
)
from vit_keras.runtime.files import atomic_directory
from vit_keras.training.checkpoints.folder import FILES, read_folder, sync_folder, write_folder

_STEP = r"step-([0-9]{8,})(?:-([0-9]+))?"  # a step that is saved again gets a number
_WHOLE = re.compile(_STEP)
_SET_ASIDE = re.compile(_STEP + r"\.corrupt(?:-[0-9]+)?")
_LEFTOVER = re.compile(r"\." + _STEP + r"\.(?:unfinished|removed)-([0-9]{1,9})")  # the process that was at it
_SLACK = 16 * 2**20  # bytes for headers, for folders, and for what others write meanwhile
_BAD = (CorruptFileError, UnsafeFileError, WeightMismatchError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A state of a run.

    Args:
        step: Optimizer steps done.
        path: The folder it is in.
        tensors: Arrays by name, sorted.
        state: The rest, as JSON holds it.
    """

    step: int
    path: Path
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointStore:
    """A directory of checkpoints, of which the newest whole one is there whatever happens to the process, the disk or the power.

    Each is a folder `step-00000123` that appears in one step when all of it is on the disk; its manifest has the checksum of each
    file. Which is newest is told by the step, not the clock. Everything else in the directory is let be. One process at a time
    writes there: hold the run's `RunLock`.

    Args:
        directory: Where; made when it is needed.
        keep: Checkpoints to keep, 1 or more; an older one goes when a newer one is safe.

    Raises:
        InvalidArgumentError: `keep` is less than 1.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = CheckpointStore(Path(folder))
        ...     store.save(5, {"kernel": np.ones(3, "float32")}, {"epoch": 1})
        ...     newest = store.newest()
        >>> newest.step, newest.tensors["kernel"].shape, newest.state
        (5, (3,), {'epoch': 1})
    """

    def __init__(self, directory: Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise InvalidArgumentError(f"keep is {keep}; expected 1 or more checkpoints.")
        self.directory = directory
        self.keep = keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Hands a checkpoint over to be written by a thread of its own, once the one before is written.

        Args:
            step: Optimizer steps done.
            tensors: Arrays by name, which must not change until they are written: they are not copied.
            state: What JSON holds.

        Raises:
            InvalidArgumentError: The step is negative, or the state is nothing that JSON holds.
            StorageError: The checkpoint before could not be written; this one was not tried.
        """
        if step < 0:
            raise InvalidArgumentError(f"step is {step}; expected 0 or more steps done.")
        try:
            text = json.dumps(dict(state), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"The state of step {step} is nothing that JSON holds ({error}); arrays are given as tensors."
            ) from error
        self.wait()
        self._thread = threading.Thread(target=self._work, args=(step, dict(tensors), text), name=f"checkpoint {step}")
        self._thread.start()

    def wait(self) -> None:
        """Waits until everything handed over is on the disk.

        Raises:
            StorageError: It could not be written; what was there before still is.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def newest(self) -> Checkpoint | None:
        """Returns the newest checkpoint that is whole, or nothing where there never was one; those that are damaged are set aside.

        Raises:
            CheckpointCorruptError: There are checkpoints, and all of them are damaged; none is removed.
            ResumeError: The newest was written by a newer version.
            StorageError: The directory or a file can't be read for now, or the last write failed.
        """
        self.wait()
        before = self._listed(_SET_ASIDE)
        reasons = []
        for path, step in reversed(self._listed(_WHOLE)):
            try:
                return Checkpoint(step, path, *read_folder(path, step))
            except _BAD as error:
                reasons.append(str(error))
                _log.warning("A checkpoint can't be used and is kept as %s: %s", _set_aside(path), error)
        reasons += [_reason(path, step) for path, step in reversed(before)]
        if not reasons:
            return None
        raise CheckpointCorruptError(
            f"{self.directory}: there are {len(reasons)} checkpoints, none of them is whole, and nothing was removed or "
            "overwritten. Start a new run, or put a whole copy of one back as step-<number>.\n"
            + "\n".join(f"  {reason}" for reason in reasons)
        )

    def is_empty(self) -> bool:
        """Whether there never was a checkpoint, so that `newest` returns nothing.

        Raises:
            StorageError: The directory can't be read.
        """
        return not self._listed(_WHOLE) and not self._listed(_SET_ASIDE)

    def clear(self) -> None:
        """Removes the checkpoints, but for damaged ones, and the directory if nothing else is in it.

        Raises:
            StorageError: The directory can't be read, or the last write failed.
        """
        self.wait()
        for path, _ in self._listed(_WHOLE):
            _remove(path)
        self._remove_leftovers()
        with contextlib.suppress(OSError):  # it is not empty, or not there
            self.directory.rmdir()

    def _work(self, step: int, tensors: dict[str, np.ndarray], state: str) -> None:
        try:
            self._write(step, tensors, state)
        except VitKerasError as error:
            self._error = error
        except OSError as error:
            self._error = StorageError(f"{self.directory}: could not be written ({error}).")
        except BaseException as error:  # handed to the caller
            self._error = error

    def _write(self, step: int, tensors: dict[str, np.ndarray], state: str) -> None:
        if not self.directory.is_dir():
            self.directory.mkdir(parents=True, exist_ok=True)
            sync_folder(self.directory.parent)
        self._remove_leftovers()
        self._check_space(sum(tensor.nbytes for tensor in tensors.values()) + len(state) + _SLACK)
        target = self._free_path(step)
        with atomic_directory(target) as folder:
            write_folder(folder, step, tensors=tensors, state=state)
        sync_folder(self.directory)
        for path, _ in self._listed(_WHOLE)[: -self.keep]:
            if path != target:
                _remove(path)

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise StorageError(
                f"{self.directory}: a checkpoint needs {needed:,} bytes and {free:,} are free. Nothing was written, and the "
                "checkpoints there are as they were: make room, and resume."
            )

    def _free_path(self, step: int) -> Path:
        """Returns where a checkpoint of a step goes; one that is there stays until the new one is safe."""
        matches = map(_WHOLE.fullmatch, os.listdir(self.directory))
        number = max((int(match[2] or 1) for match in matches if match and int(match[1]) == step), default=0) + 1
        return self.directory / (f"step-{step:08d}" + (f"-{number}" if number > 1 else ""))

    def _listed(self, pattern: re.Pattern[str]) -> list[tuple[Path, int]]:
        """Returns the folders of a store's with such a name, and the step of each, oldest first."""
        found = []
        for path, match in self._matching(pattern):
            if FILES & _names(path):
                found.append((int(match[1]), int(match[2] or 1), path))
        return [(path, step) for step, _, path in sorted(found)]

    def _matching(self, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
        try:
            entries = list(os.scandir(self.directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.directory}: could not be read ({error}).") from error
        matches = ((entry, pattern.fullmatch(entry.name)) for entry in entries if entry.is_dir(follow_symlinks=False))
        return [(self.directory / entry.name, match) for entry, match in matches if match]

    def _remove_leftovers(self) -> None:
        """Removes what processes that are gone did not finish; with our own number it is of one before us, as in a container."""
        for path, match in self._matching(_LEFTOVER):
            if int(match[3]) == os.getpid() or not psutil.pid_exists(int(match[3])):
                shutil.rmtree(path, ignore_errors=True)


def _names(path: Path) -> set[str]:
    try:
        return set(os.listdir(path))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error


def _remove(path: Path) -> None:
    """Removes a checkpoint in one step, unless somebody keeps something of their own in it."""
    doomed = path.with_name(f".{path.name}.removed-{os.getpid()}")
    try:
        if _names(path) <= FILES:
            path.rename(doomed)
            shutil.rmtree(doomed)
    except OSError as error:
        _log.warning("An old checkpoint is still there: %s could not be removed (%s).", path, error)


def _set_aside(path: Path) -> Path:
    """Gives a damaged checkpoint a name that says so, and returns it."""
    aside, number = path.with_name(f"{path.name}.corrupt"), 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{number}")
    try:
        return path.rename(aside)
    except OSError:  # a disk that is read-only by now
        return path


def _reason(path: Path, step: int) -> str:
    """Returns why a checkpoint that was set aside can't be used."""
    try:
        read_folder(path, step)
    except VitKerasError as error:
        return str(error)
    return f"{path}: it is whole again; take .corrupt off its name to go on from it."
