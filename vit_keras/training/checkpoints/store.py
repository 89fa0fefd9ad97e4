"""A directory with the last checkpoints of a training run, written in the background and verified when read."""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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

_STEP = r"step-([0-9]{8,})(?:-([0-9]+))?"  # the second number counts checkpoints of the same step
_COMPLETE = re.compile(_STEP)
_CORRUPT = re.compile(_STEP + r"\.corrupt(?:-[0-9]+)?")
_LEFTOVER = re.compile(r"\." + _STEP + r"\.(?:unfinished|removed)-([0-9]{1,9})")  # the last number is a process id
_MARGIN = 16 * 2**20  # free bytes needed beyond the tensors: headers, directories, and what others write meanwhile

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training run: arrays by name, and a JSON object with the rest."""

    step: int
    path: Path
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointStore:
    """A directory of checkpoints, whose newest complete one survives a crash of the process, a full disk and a power failure.

    Each checkpoint is a directory `step-00000123`, renamed into place after it is synced to the disk, with checksums in its
    manifest. The newest is the one with the highest step; after a save, `keep` remain. Anything else in the directory is left alone.
    Only one process at a time may write: hold the run's `RunLock`.
    """

    def __init__(self, directory: Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise InvalidArgumentError(f"keep is {keep}; expected 1 or more checkpoints.")
        self.directory = directory
        self.keep = keep
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Saves in a thread, after the previous save, whose `StorageError` it raises; `tensors` must not change until `wait` returns."""
        if step < 0:
            raise InvalidArgumentError(f"step is {step}; expected 0 or more.")
        try:
            text = json.dumps(dict(state), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"The state of step {step} cannot be written as JSON ({error}); pass arrays as tensors."
            ) from error
        self.wait()
        self._pending = self._writer.submit(self._write, step, dict(tensors), text)

    def wait(self) -> None:
        """Waits until the last save is on the disk; after a `StorageError`, the earlier checkpoints are unchanged."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def newest(self) -> Checkpoint | None:
        """Returns the newest valid checkpoint, or None if there never was one; damaged ones are renamed to `.corrupt`.

        Raises `CheckpointCorruptError` where all are damaged, `ResumeError` where the newest was written by a newer version, and
        `StorageError` where the directory or a file cannot be read at the moment, or the last write failed.
        """
        self.wait()
        corrupt = self._list(_CORRUPT)
        reasons = []
        for path, step in reversed(self._list(_COMPLETE)):
            try:
                return Checkpoint(step, path, *read_folder(path, step))
            except (CorruptFileError, UnsafeFileError, WeightMismatchError) as error:
                reasons.append(str(error))
                _log.warning("A checkpoint is damaged and was renamed to %s: %s", _set_aside(path), error)
        reasons += [_find_reason(path, step) for path, step in reversed(corrupt)]
        if not reasons:
            return None
        raise CheckpointCorruptError(
            f"{self.directory}: all checkpoints ({len(reasons)}) are damaged; nothing was removed or overwritten. Start a new run, or "
            "restore an intact copy of one as step-<number>.\n" + "\n".join(f"  {reason}" for reason in reasons)
        )

    def is_empty(self) -> bool:
        """True if there never was a checkpoint, so `newest` returns None."""
        return not self._list(_COMPLETE) and not self._list(_CORRUPT)

    def clear(self) -> None:
        """Removes the checkpoints except damaged ones, and the directory if nothing else is in it."""
        self.wait()
        for path, _ in self._list(_COMPLETE):
            _remove(path)
        self._remove_leftovers()
        with contextlib.suppress(OSError):  # not empty, or not there
            self.directory.rmdir()

    def _write(self, step: int, tensors: dict[str, np.ndarray], state: str) -> None:
        try:
            if not self.directory.is_dir():
                self.directory.mkdir(parents=True, exist_ok=True)
                sync_folder(self.directory.parent)
            self._remove_leftovers()
            needed = sum(tensor.nbytes for tensor in tensors.values()) + len(state) + _MARGIN
            free = shutil.disk_usage(self.directory).free
            if free < needed:
                raise StorageError(
                    f"{self.directory}: a checkpoint needs {needed:,} bytes and {free:,} are free. Nothing was written, and the earlier "
                    "checkpoints are unchanged: free some disk space, and resume."
                )
            target = self._free_path(step)
            with atomic_directory(target) as folder:
                write_folder(folder, step, tensors=tensors, state=state)
            sync_folder(self.directory)
        except VitKerasError:
            raise
        except OSError as error:
            raise StorageError(f"{self.directory}: could not be written ({error}).") from error
        for path, _ in self._list(_COMPLETE)[: -self.keep]:
            if path != target:
                _remove(path)

    def _free_path(self, step: int) -> Path:
        """Returns a new path for a checkpoint; an earlier one of the same step stays until the new one is saved."""
        matches = map(_COMPLETE.fullmatch, os.listdir(self.directory))
        number = max((int(match[2] or 1) for match in matches if match and int(match[1]) == step), default=0) + 1
        return self.directory / (f"step-{step:08d}" + (f"-{number}" if number > 1 else ""))

    def _list(self, pattern: re.Pattern[str]) -> list[tuple[Path, int]]:
        """Returns the matching directories with their steps, oldest first."""
        found = [
            (int(match[1]), int(match[2] or 1), path)
            for path, match in self._match(pattern)
            if FILES & _list_names(path)
        ]
        return [(path, step) for step, _, path in sorted(found)]

    def _match(self, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
        try:
            entries = list(os.scandir(self.directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.directory}: could not be read ({error}).") from error
        matches = ((entry, pattern.fullmatch(entry.name)) for entry in entries if entry.is_dir(follow_symlinks=False))
        return [(self.directory / entry.name, match) for entry, match in matches if match]

    def _remove_leftovers(self) -> None:
        """Removes what dead processes left unfinished; our own id is that of an earlier process, as happens in containers."""
        for path, match in self._match(_LEFTOVER):
            if int(match[3]) == os.getpid() or not psutil.pid_exists(int(match[3])):
                shutil.rmtree(path, ignore_errors=True)


def _list_names(path: Path) -> set[str]:
    try:
        return set(os.listdir(path))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error


def _remove(path: Path) -> None:
    """Removes a checkpoint atomically, unless its directory contains files of the user's."""
    removed = path.with_name(f".{path.name}.removed-{os.getpid()}")
    try:
        if _list_names(path) <= FILES:
            path.rename(removed)
            shutil.rmtree(removed)
    except OSError as error:
        _log.warning("The old checkpoint %s could not be removed (%s).", path, error)


def _set_aside(path: Path) -> Path:
    target, number = path.with_name(f"{path.name}.corrupt"), 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.corrupt-{number}")
    try:
        return path.rename(target)
    except OSError:  # the disk may be read-only by now
        return path


def _find_reason(path: Path, step: int) -> str:
    try:
        read_folder(path, step)
    except VitKerasError as error:
        return str(error)
    return f"{path}: it is intact again; remove .corrupt from its name to resume from it."
