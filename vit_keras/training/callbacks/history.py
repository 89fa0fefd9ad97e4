"""The metrics of each epoch, in memory and as CSV."""

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from vit_keras.distributed.cluster import is_chief
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.errors import CorruptFileError
from vit_keras.runtime.files import write_text
from vit_keras.training.callbacks.waiting import WaitClock


class EpochHistory(keras.callbacks.Callback):
    """Rows of metrics, final learning rate and seconds per epoch, across interruptions of the run; also written as CSV.

    It also keeps the seconds of a `WaitClock`, of the process that writes.
    """

    def __init__(self, path: Path, waits: WaitClock) -> None:
        super().__init__()
        self.path = path
        self.waits = waits
        self.rows: list[dict[str, float]] = []
        self._seconds = 0.0
        self._start = time.monotonic()

    def get_state(self) -> dict[str, Any]:
        """Returns the rows, the seconds of the current epoch, and those waited."""
        return {"rows": self.rows, "seconds": self._elapsed(), "waits": self.waits.seconds()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `get_state` returned."""
        self.rows = [dict(row) for row in state["rows"]]
        self._seconds, self._start = state["seconds"], time.monotonic()
        if is_chief():
            self.waits.restore(state.get("waits", {}))  # missing in earlier versions

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the timer."""
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(self._elapsed(), 3)
        self.rows.append(row)
        self._seconds, self._start = 0.0, time.monotonic()
        self.write()

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._start

    def write(self) -> None:
        """Replaces the CSV file atomically; of several processes, all call it and the chief writes."""
        if not self.rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n", restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        with share_errors():
            if is_chief():
                write_text(self.path, text.getvalue(), how_to_fix="Free some disk space, then resume the run.")


def read_history(path: Path) -> list[dict[str, float]]:
    """Returns the rows that `EpochHistory` wrote; `CorruptFileError` where the file is missing or holds no metrics."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise CorruptFileError(f"{path}: the metrics of the run could not be read ({error}).") from error
