"""Files of a search in its run directory."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vit_keras.errors import StorageError
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.study import Study

JOURNAL, LATENCIES = "journal.jsonl", "latencies.jsonl"
WORKERS = "workers"
"""Folder with the signs of life and the logs of workers."""
_UNSTARTED = (".lock", ".log", ".alive", LATENCIES)
"""Ends of the names of all files that a search leaves that ended before its first record."""
_WARM_TRIALS = 5  # of each earlier search


def load_warm_start(directories: Sequence[str | Path], objectives: Sequence[Objective]) -> list[dict[str, Any]]:
    """Returns the values of the best trials of earlier searches."""
    best = []
    for directory in map(Path, directories):
        path = directory / JOURNAL
        if not path.is_file():
            raise StorageError(f"warm_start: {directory} holds no search, since it has no {JOURNAL}.")
        records = Journal(path).records
        epochs = max((record["epochs"] for record in records if record["what"] == "started"), default=1)
        best += [trial.values for trial in Study(objectives, epochs=epochs, records=records).ranking[:_WARM_TRIALS]]
    return best


def check_run_directory(path: Path) -> None:
    """Refuses a directory that holds something else than a search."""
    if path.exists() and not path.is_dir():
        raise StorageError(f"run_dir: {path} is a file, not a directory.")
    is_other = path.is_dir() and not (path / JOURNAL).is_file()
    if is_other and not _is_unstarted(path):
        raise StorageError(
            f"run_dir: {path} holds files that are not of a search, and nothing is removed or overwritten: choose another directory."
        )


def remove_unstarted(path: Path) -> None:
    """Removes the directory of a search that ended before its first record, if it holds nothing else."""
    if path.is_dir() and _is_unstarted(path):
        shutil.rmtree(path, ignore_errors=True)


def _is_unstarted(path: Path) -> bool:
    """Returns whether a directory holds nothing but what a search leaves that ended before its first record."""
    return all(
        each.name.endswith(_UNSTARTED) or (each.name == WORKERS and each.is_dir() and _is_unstarted(each))
        for each in path.iterdir()
    )
