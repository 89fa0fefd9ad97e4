"""The inspection rows of many files, as compact columns."""

import sys
from typing import Any

import numpy as np

_LOOKS = {"brightness": 2, "contrast": 2, "shadow": 2, "highlight": 2, "entropy": 3}  # decimal places in a row


class Columns:
    """The rows of `inspect` for each of `count` files, compact enough for millions of files."""

    def __init__(self, count: int) -> None:
        self.sizes, self.mtimes = np.full(count, -1, "int64"), np.full(count, -1, "int64")
        self.widths, self.heights = np.zeros(count, "int32"), np.zeros(count, "int32")
        self.orientations = np.ones(count, "int8")
        self.sha256, self.phash = np.zeros((count, 32), "uint8"), np.zeros(count, "uint64")
        self.brightness, self.contrast = np.zeros(count, "float32"), np.zeros(count, "float32")
        self.shadow, self.highlight = np.zeros(count, "float32"), np.zeros(count, "float32")
        self.entropy = np.zeros(count, "float32")
        self.formats, self.modes = [""] * count, [""] * count
        self.notes: dict[int, tuple[str, ...]] = {}  # on a usable file, by index
        self.reasons: dict[int, str] = {}  # why a file can't be used, by index
        self.found = np.zeros(count, dtype=bool)  # whether the file has a row

    def put(self, index: int, row: dict[str, Any]) -> None:
        """Stores a row of `inspect`; raises KeyError, TypeError, ValueError or OverflowError for anything else."""
        self.sizes[index], self.mtimes[index] = row.get("size", -1), row.get("mtime_ns", -1)
        self.notes.pop(index, None)
        self.reasons.pop(index, None)
        if "reason" in row:
            self.reasons[index] = str(row["reason"])
        else:
            self.widths[index], self.heights[index] = row["width"], row["height"]
            self.orientations[index] = row["orientation"]
            self.sha256[index] = np.frombuffer(bytes.fromhex(row["sha256"]), "uint8")
            self.phash[index] = np.uint64(int(row["phash"], 16))
            for name in _LOOKS:
                getattr(self, name)[index] = row[name]
            self.formats[index], self.modes[index] = sys.intern(row["format"]), sys.intern(row["mode"])
            if row["notes"]:
                self.notes[index] = tuple(sys.intern(note) for note in row["notes"])
        self.found[index] = True

    def row(self, index: int) -> dict[str, Any]:
        """Returns a row as `inspect` made it."""
        row: dict[str, Any] = {"size": int(self.sizes[index]), "mtime_ns": int(self.mtimes[index])}
        if index in self.reasons:
            return row | {"reason": self.reasons[index]}
        return row | {
            "sha256": self.sha256[index].tobytes().hex(),
            "format": self.formats[index],
            "mode": self.modes[index],
            "width": int(self.widths[index]),
            "height": int(self.heights[index]),
            "orientation": int(self.orientations[index]),
            "phash": f"{int(self.phash[index]):016x}",
            **{name: round(float(getattr(self, name)[index]), places) for name, places in _LOOKS.items()},
            "notes": list(self.notes.get(index, ())),
        }

    def take(self, indices: np.ndarray) -> "Columns":
        """Returns the columns of usable files."""
        if len(indices) == len(self.found):
            return self
        taken = Columns(0)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(taken, name, value[indices])
        taken.formats = [self.formats[index] for index in indices]
        taken.modes = [self.modes[index] for index in indices]
        taken.notes = {place: self.notes[index] for place, index in enumerate(indices.tolist()) if index in self.notes}
        return taken
