"""What was found of every file of a data set; training reads what is in here, and nothing else."""

import csv
import hashlib
import io
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vit_keras.data.scan.inspection import bits_of
from vit_keras.data.scan.listing import NO_ENDING, Listing
from vit_keras.data.sources.split_names import SPLITS
from vit_keras.errors import TooManyBadFilesError
from vit_keras.reporting.text import shown
from vit_keras.runtime.files import atomic_file, write_text

MANIFEST, QUARANTINE = "manifest.jsonl", "quarantine.csv"
_SHOWN = 10


class Columns:
    """What was found of each file of a listing, compact enough for a million of them.

    Args:
        count: Files.
    """

    def __init__(self, count: int) -> None:
        self.sizes, self.mtimes = np.full(count, -1, "int64"), np.full(count, -1, "int64")
        self.widths, self.heights = np.zeros(count, "int32"), np.zeros(count, "int32")
        self.orientations = np.ones(count, "int8")
        self.sha256, self.phash = np.zeros((count, 32), "uint8"), np.zeros(count, "uint64")
        self.brightness, self.contrast = np.zeros(count, "float32"), np.zeros(count, "float32")
        self.shadow, self.highlight = np.zeros(count, "float32"), np.zeros(count, "float32")
        self.entropy = np.zeros(count, "float32")
        self.formats, self.modes = [""] * count, [""] * count
        self.notes: dict[int, tuple[str, ...]] = {}
        self.reasons: dict[int, str] = {}
        self.found = np.zeros(count, dtype=bool)

    def put(self, index: int, row: dict[str, Any]) -> None:
        """Keeps a row of `inspect`."""
        self.sizes[index], self.mtimes[index] = row.get("size", -1), row.get("mtime_ns", -1)
        self.notes.pop(index, None)
        self.reasons.pop(index, None)
        if "reason" in row:
            self.reasons[index] = str(row["reason"])
        else:
            self.widths[index], self.heights[index] = row["width"], row["height"]
            self.orientations[index] = row["orientation"]
            self.sha256[index] = np.frombuffer(bytes.fromhex(row["sha256"]), "uint8")
            self.phash[index] = bits_of(row["phash"])
            self.brightness[index], self.contrast[index] = row["brightness"], row["contrast"]
            self.shadow[index], self.highlight[index] = row["shadow"], row["highlight"]
            self.entropy[index] = row["entropy"]
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
            "brightness": round(float(self.brightness[index]), 2),
            "contrast": round(float(self.contrast[index]), 2),
            "shadow": round(float(self.shadow[index]), 2),
            "highlight": round(float(self.highlight[index]), 2),
            "entropy": round(float(self.entropy[index]), 3),
            "notes": list(self.notes.get(index, ())),
        }


@dataclass(frozen=True)
class Quarantined:
    """A file that can't be used, and why.

    Args:
        path: Relative to the root.
        class_name: Its class; empty where it has none.
        split: Its split; empty where the source has none.
        reason: Why.
    """

    path: str
    class_name: str
    split: str
    reason: str


@dataclass(frozen=True, eq=False)
class Manifest:
    """The usable files of a data set, and those left out.

    Args:
        root: The folder that paths are relative to.
        class_names: What the labels mean.
        paths: Of the usable files, relative to `root`.
        labels: `(count,)`, int32.
        splits: `(count,)`, int8, indices into `SPLITS`; -1 where the source has none.
        columns: What was found of each.
        quarantined: The files left out.
        skipped: Links and pipes passed over, each a path and a reason.
        ignored: Counts of files that are no images, by kind.
        folder: Where the manifest lies, if it was written.
        decisions: How folders or columns were understood where that is not plain, in words.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: list[str]
    labels: np.ndarray
    splits: np.ndarray
    columns: Columns
    quarantined: tuple[Quarantined, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)
    folder: Path | None = None
    decisions: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Returns how many files are usable."""
        return len(self.paths)

    @property
    def notes(self) -> Counter[str]:
        """How many usable files have each note."""
        return Counter(note for notes in self.columns.notes.values() for note in notes)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every usable file's path, label, split and content."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for path, label, split, content in zip(self.paths, self.labels, self.splits, self.columns.sha256, strict=True):
            digest.update(f"\n{path}\t{label}\t{split}\t".encode(errors="surrogateescape") + content.tobytes())
        return digest.hexdigest()

    @property
    def reasons(self) -> Counter[str]:
        """How many files can't be used for each reason, without what is said of each file."""
        return Counter(_kind(item.reason) for item in self.quarantined)

    @property
    def left_out(self) -> Counter[str]:
        """How many files were left out for each reason, no images among them; what systems leave behind is not counted."""
        reasons = self.reasons + Counter(_kind(reason) for _, reason in self.skipped)
        others = {kind: count for kind, count in self.ignored.items() if kind.startswith(".") or kind == NO_ENDING}
        return reasons + Counter({f"no image ({kind})": count for kind, count in others.items()})

    def check_limit(self, *, max_error_rate: float = 0.01, on_error: str = "quarantine") -> None:
        """Raises `TooManyBadFilesError` where too much was left out to go on without a word.

        Args:
            max_error_rate: Largest fraction of the files that may be left out; one always may.
            on_error: "error" refuses the first one.
        """
        bad, count = self.quarantined, len(self) + len(self.quarantined)
        more = f"\nAll of them are in {self.folder / QUARANTINE}." if self.folder else ""
        for split, names in self._lost().items():
            reasons = _listed([item for item in bad if item.class_name in names and item.split == split], self.root)
            raise TooManyBadFilesError(
                f"{self.root / split}: no image of {names} can be read. The first reasons:{reasons}{more}"
            )
        allowed = 0 if on_error == "error" else max(1, max_error_rate * count)
        if len(bad) > allowed:
            share = "more than one in a hundred" if max_error_rate == 0.01 else f"more than {max_error_rate:.1%}"
            told = "and on_error='error' allows none" if on_error == "error" else share
            way_out = (
                "." if on_error == "error" else f", or allow more with max_error_rate: they are {len(bad) / count:.2%}."
            )
            raise TooManyBadFilesError(
                f"{self.root}: {len(bad)} of {count} files can't be read, {told}:{_listed(bad, self.root)}{more}\n"
                f"Mend or remove them{way_out}"
            )

    def _lost(self) -> dict[str, list[str]]:
        """Returns classes of which all files were left out, by split."""
        lost: dict[str, list[str]] = {}
        for split, name in sorted({(item.split, item.class_name) for item in self.quarantined if item.class_name}):
            number = SPLITS.index(split) if split else -1
            if not ((self.splits == number) & (self.labels == self.class_names.index(name))).any():
                lost.setdefault(split, []).append(name)
        return lost


def _kind(reason: str) -> str:
    """Returns a reason without its figures, so that equal ones can be counted.

    Example:
        >>> _kind("truncated or damaged (broken data stream)."), _kind("4x4 px; the shorter side must have 8 px or more.")
        ('truncated or damaged', 'the shorter side must have 8 px or more')
    """
    parts = [part.strip(" .)") for part in re.split(r"[:;(]", reason)]
    return next((part for part in parts if not part[:1].isdigit()), reason)


def _listed(bad: Sequence[Quarantined], root: Path) -> str:
    return "".join(f"\n  {shown(str(root / item.path))}: {item.reason}" for item in bad[:_SHOWN])


def manifest_of(listing: Listing, columns: Columns, folder: Path | None) -> Manifest:
    """Returns what was found of a listing's files.

    Args:
        listing: The files.
        columns: What was found of them, in the same order.
        folder: Where it is written.
    """
    usable = np.ones(len(listing.paths), dtype=bool)
    usable[list(columns.reasons)] = False
    places = np.flatnonzero(usable)
    quarantined = [
        Quarantined(
            listing.paths[index],
            listing.class_names[listing.labels[index]],
            SPLITS[listing.splits[index]] if listing.splits[index] >= 0 else "",
            columns.reasons[index],
        )
        for index in sorted(columns.reasons)
    ]
    quarantined += [Quarantined(path, *_place(path, listing), reason) for path, reason in listing.rejected]
    return Manifest(
        root=listing.root,
        class_names=listing.class_names,
        paths=[listing.paths[place] for place in places],
        labels=listing.labels[places],
        splits=listing.splits[places],
        columns=_taken(columns, places),
        quarantined=tuple(quarantined),
        skipped=listing.skipped,
        ignored=listing.ignored,
        folder=folder,
        decisions=listing.decisions,
    )


def _place(path: str, listing: Listing) -> tuple[str, str]:
    """Returns class and split of a file that the listing rejected, by the class folder it lies in."""
    for parent in PurePosixPath(path).parents:
        if str(parent) in listing.folders:
            label, split = listing.folders[str(parent)]
            return listing.class_names[label], SPLITS[split] if split >= 0 else ""
    return "", ""


def _taken(columns: Columns, places: np.ndarray) -> Columns:
    if len(places) == len(columns.found):
        return columns
    taken = Columns(0)
    for name, value in vars(columns).items():
        if isinstance(value, np.ndarray):
            setattr(taken, name, value[places])
    taken.formats = [columns.formats[place] for place in places]
    taken.modes = [columns.modes[place] for place in places]
    number = {int(place): index for index, place in enumerate(places)} if columns.notes else {}
    taken.notes = {number[place]: notes for place, notes in columns.notes.items() if place in number}
    return taken


def lines(listing: Listing, columns: Columns) -> Iterator[str]:
    """Yields the manifest's lines, a file each, usable or not.

    Args:
        listing: The files.
        columns: What was found of them.
    """
    for index, path in enumerate(listing.paths):
        label, split = listing.labels[index], listing.splits[index]
        row = {"path": path, "class": listing.class_names[label], "split": SPLITS[split] if split >= 0 else None}
        yield json.dumps(row | columns.row(index))


def write(manifest: Manifest, header: dict[str, Any], rows: Iterator[str], folder: Path) -> None:
    """Writes the manifest and the quarantine list, each in one step.

    Args:
        manifest: What was found.
        header: First line of the manifest.
        rows: Its other lines.
        folder: Where to.

    Raises:
        StorageError: They could not be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_ALL)  # names may hold line breaks
    writer.writerow(["path", "class", "split", "reason"])
    for item in manifest.quarantined:
        writer.writerow([_harmless(cell) for cell in (item.path, item.class_name, item.split, item.reason)])
    how_to_fix = "VIT_KERAS_CACHE chooses another folder."
    with (
        atomic_file(folder / MANIFEST, how_to_fix=how_to_fix) as path,
        path.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(row + "\n" for row in itertools.chain([json.dumps(header)], rows))
    write_text(folder / QUARANTINE, table.getvalue(), how_to_fix=how_to_fix)


def _harmless(cell: str) -> str:
    """Returns a cell that no spreadsheet runs, and that is text whatever the file's name is made of."""
    text = cell.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
