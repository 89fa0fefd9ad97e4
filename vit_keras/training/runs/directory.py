"""The files of a run directory, and `run.json`."""

import json
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_keras.distributed.cluster import broadcast, gather, is_chief, process_count
from vit_keras.errors import CorruptFileError, StorageError
from vit_keras.runtime.files import file_sha256, write_text
from vit_keras.training.recipes.settings import rename_values

RUNS = Path("runs")  # in the current directory
_SHARED_SECONDS = 30  # in which a file of another machine appears on a shared file system
STATUSES = ("running", "interrupted", "diverged", "finished")
_RENAMED = {
    "accept_licence": "accept_license",
    "max_bad": "max_error_rate",
    "on_bad": "on_error",
    "preset": "model",
}  # in earlier versions


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training; the run in `run_directory` can be resumed."""

    def __init__(self, run_directory: Path) -> None:
        super().__init__(str(run_directory))
        self.run_directory = run_directory


class ProcessLostError(TrainingInterrupted):
    """Another process of the launch ended or can't be reached; the run in `run_directory` can be resumed from the last checkpoint."""


class RunDirectory:
    """The folder of one training run, and the paths of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model"  # a preset directory
        self.record_file = path / "run.json"  # options, recipe, data, environment and results
        self.metrics = path / "metrics.csv"  # one row per epoch
        self.checkpoints = path / "checkpoints"  # the last training states, until the run is finished
        self.divergence = path / "divergence.json"  # the step and images at which the loss became NaN or infinite
        self.report = path / "report.html"
        self.figures = path / "figures"
        self.folds = path / "folds"  # of a cross-validation: the runs 1, 2, ...

    def check_free(self) -> None:
        """Raises `StorageError` where the folder exists."""
        if self.path.exists() or self.path.is_symlink():
            raise StorageError(
                f"{self.path} exists, and nothing is overwritten: choose another --run-dir, add --resume to resume an interrupted "
                "run there, or --overwrite to replace it."
            )

    def create(self) -> None:
        """Creates the folder."""
        self.check_free()
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            raise StorageError(f"{self.path}: the run directory cannot be created ({error}).") from error

    def check_shared(self) -> None:
        """Raises `StorageError` where the processes of a launch see other folders, such as on a disk of each machine."""
        if process_count() == 1:
            return
        end = time.monotonic() + _SHARED_SECONDS
        while True:
            found = [self._digest(), socket.gethostname()]
            seen = gather(found)
            others = [(number, host) for number, (digest, host) in enumerate(seen) if digest != seen[0][0]]
            if not others:
                return
            if not broadcast(time.monotonic() < end):
                raise StorageError(
                    f"{self.path} must be one folder that all processes share, as on NFS: process {others[0][0]} on {others[0][1]} does "
                    f"not see the run that process 0 on {seen[0][1]} has there. Give a --run-dir on a shared file system."
                )
            time.sleep(1)

    def _digest(self) -> str:
        """Returns the SHA-256 of `run.json`; "" where it is missing."""
        try:
            return file_sha256(self.record_file)
        except OSError:
            return ""

    def write(self, record: Mapping[str, Any]) -> None:
        """Replaces `run.json` atomically; only the chief of a launch writes."""
        if is_chief():
            write_text(self.record_file, json.dumps(record, indent=2) + "\n")

    def read(self) -> dict[str, Any]:
        """Returns the contents of `run.json`, in the terms of this version."""
        if not self.record_file.is_file():
            raise StorageError(f"{self.path} is not a run directory: it has no {self.record_file.name}.")
        try:
            record: dict[str, Any] = json.loads(self.record_file.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise CorruptFileError(f"{self.record_file}: not JSON ({error}).") from error
        needed = {"status", "options", "command", "precision", "config", "recipe", "data", "environment"}
        if not (
            isinstance(record, dict)
            and needed <= record.keys()
            and record["status"] in STATUSES
            and isinstance(record["options"], dict)
            and (record["status"] != "finished" or "results" in record)
        ):
            raise CorruptFileError(f"{self.record_file}: this was not written by a training run.")
        for key in ("options", "recipe"):
            if isinstance(record[key], dict):
                record[key] = rename_values({_RENAMED.get(name, name): value for name, value in record[key].items()})
        return record


def next_run_directory(data: str, *, prefix: str = "") -> RunDirectory:
    """Returns the first of `runs/NAME-1`, `runs/NAME-2`, ... in the current directory that does not exist."""
    name = Path(data).resolve().name if Path(data).exists() else data
    name = prefix + (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run")
    number = 1
    while (RUNS / f"{name}-{number}").exists():
        number += 1
    return RunDirectory(RUNS / f"{name}-{number}")
