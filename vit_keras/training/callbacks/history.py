"""What each epoch came to."""

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from vit_keras.errors import CorruptFileError
from vit_keras.runtime.files import write_text


class EpochHistory(keras.callbacks.Callback):
    """One row an epoch: the metrics, the learning rate at its end, and its seconds, also of a run that was interrupted.

    Args:
        path: A CSV file that shows the rows so far; it is replaced in one step after each epoch. None for no file.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._seconds = 0.0

    def get_state(self) -> dict[str, Any]:
        """Returns the rows, and the seconds of an epoch under way."""
        return {"rows": self.rows, "seconds": self._elapsed()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from rows that `get_state` gave."""
        self.rows = [dict(row) for row in state["rows"]]
        self._seconds, self._began = state["seconds"], time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(self._elapsed(), 3)
        self.rows.append(row)
        self._seconds, self._began = 0.0, time.monotonic()
        self.write()

    def _elapsed(self) -> float:
        """Seconds since the epoch began, those of an earlier process among them."""
        return self._seconds + time.monotonic() - getattr(self, "_began", time.monotonic())

    def write(self) -> None:
        """Writes the rows so far.

        Raises:
            StorageError: The file can't be written; what was there before still is.
        """
        if self.path is None or not self.rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n", restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue(), how_to_fix="Make room, then resume the run.")


def read_history(path: Path) -> list[dict[str, float]]:
    """Returns the rows that `EpochHistory` wrote.

    Args:
        path: The CSV file.

    Raises:
        CorruptFileError: It is none of these.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise CorruptFileError(f"{path}: these are no metrics of a run ({error}).") from error
