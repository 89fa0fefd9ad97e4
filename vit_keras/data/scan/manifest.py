"""The manifest: every file of a data set, usable or left out, and what was found when it was checked."""

import csv
import hashlib
import io
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vit_keras.data.scan.columns import Columns
from vit_keras.data.scan.inspection import SIXTEEN_BITS
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.walk import NO_SUFFIX
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tasks import format_label
from vit_keras.errors import TooManyBadFilesError
from vit_keras.reporting.text import escape_unprintable, plural
from vit_keras.runtime.files import atomic_file, write_text
from vit_keras.validation import list_words

MANIFEST, QUARANTINE = "manifest.jsonl", "quarantine.csv"
_MAX_LISTED = 10
_NEARLY_BLACK = 16  # luma that 12-bit values in a 16-bit file reach, 0..255


@dataclass(frozen=True)
class Quarantined:
    """A file that can't be used."""

    path: str
    class_name: str
    split: str
    reason: str


@dataclass(frozen=True, eq=False)
class Manifest(Listing):
    """The usable files of a listing (`paths`, `labels`, `splits`, `columns`), and those left out."""

    columns: Columns = field(kw_only=True)
    quarantined: tuple[Quarantined, ...] = ()
    folder: Path | None = None  # where the manifest was written

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def notes(self) -> Counter[str]:
        """Number of usable files with each note."""
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
        """Number of quarantined files per general reason."""
        return Counter(_generalize(item.reason) for item in self.quarantined)

    def describe_left_out(self) -> tuple[str, ...]:
        """Returns a sentence on what was left out, by reason, other files included; hidden and system files are not counted."""
        counts = self.reasons + Counter(_generalize(reason) for _, reason in self.skipped)
        for kind, count in self.ignored.items():
            if kind.startswith(".") or kind == NO_SUFFIX:
                counts[f"not an image ({kind})"] += count
        listed = "; ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
        return (f"left out: {listed}",) if listed else ()

    def find_nearly_black(self) -> list[int]:
        """Returns the 16-bit images if all of them are nearly black, as those of 12-bit sensors are."""
        places = [place for place, notes in self.columns.notes.items() if SIXTEEN_BITS in notes]
        return places if places and self.columns.highlight[places].max() <= _NEARLY_BLACK else []

    def describe_nearly_black(self) -> tuple[str, ...]:
        """Returns a sentence on `find_nearly_black`."""
        count = len(self.find_nearly_black())
        text = (
            f"nearly black images with 16 bits per channel: all {count:,}. Their range 0..65535 is scaled to 0..255, but they seem to "
            "use fewer bits; convert them to 8 bits."
        )
        return (text,) if count else ()

    def check_limit(self, *, max_error_rate: float = 0.01, on_error: str = "quarantine") -> None:
        """Raises `TooManyBadFilesError` if too many files, or all files of a class, can't be used."""
        bad, count = self.quarantined, len(self) + len(self.quarantined)
        more = f"\nAll of them are listed in {self.folder / QUARANTINE}." if self.folder else ""
        for split, names in self._find_lost_classes().items():
            lost = [item for item in bad if item.class_name in names and item.split == split]
            raise TooManyBadFilesError(
                f"{self.root / split}: no image of {list_words(names)} can be read. The first reasons:{_list_reasons(lost, self.root)}{more}"
            )
        if len(bad) > (0 if on_error == "error" else max(1, max_error_rate * count)):
            if on_error == "error":
                limit, fix = "and on_error='error' allows none", "."
            else:
                limit = f"more than max_error_rate={max_error_rate:g} allows"
                fix = f", or raise max_error_rate to {math.ceil(1e4 * len(bad) / count) / 1e4:g}."
            raise TooManyBadFilesError(
                f"{self.root}: {len(bad):,} of {plural(count, 'file')} can't be read, {limit}:{_list_reasons(bad, self.root)}{more}\n"
                f"Repair or remove them{fix}"
            )

    def _find_lost_classes(self) -> dict[str, list[str]]:
        lost: dict[str, list[str]] = {}
        if self.task != "single_label":
            return lost
        for split, name in sorted({(item.split, item.class_name) for item in self.quarantined if item.class_name}):
            number = SPLITS.index(split) if split else -1
            if not ((self.splits == number) & (self.labels == self.class_names.index(name))).any():
                lost.setdefault(split, []).append(name)
        return lost


def _generalize(reason: str) -> str:
    """Returns a reason without the details of one file.

    >>> _generalize("truncated or damaged (broken data stream)."), _generalize("4x4 px; the shorter side must have 8 px.")
    ('truncated or damaged', 'the shorter side must have 8 px')
    """
    parts = [part.strip(" .)") for part in re.split(r"[:;(]", reason)]
    return next((part for part in parts if not part[:1].isdigit()), reason)


def _list_reasons(bad: Sequence[Quarantined], root: Path) -> str:
    return "".join(f"\n  {escape_unprintable(str(root / item.path))}: {item.reason}" for item in bad[:_MAX_LISTED])


def build_manifest(listing: Listing, columns: Columns, folder: Path | None) -> Manifest:
    """Returns the manifest of a listing."""
    places = np.delete(np.arange(len(listing.paths)), list(columns.reasons))
    quarantined = []
    for index, reason in sorted(columns.reasons.items()):
        name, split = format_label(listing.labels[index], listing.class_names), _split_name(listing.splits[index])
        quarantined.append(Quarantined(listing.paths[index], name, split, reason))
    quarantined += [Quarantined(path, *_find_class(path, listing), reason) for path, reason in listing.rejected]
    usable = {
        "paths": [listing.paths[place] for place in places],
        "labels": listing.labels[places],
        "splits": listing.splits[places],
        "columns": columns.take(places),
        "members": None if listing.members is None else listing.members.take(places),
    }
    return Manifest(**{**vars(listing), **usable}, quarantined=tuple(quarantined), folder=folder)


def _split_name(number: int) -> str:
    return SPLITS[number] if number >= 0 else ""


def _find_class(path: str, listing: Listing) -> tuple[str, str]:
    """Returns class and split of a rejected file by the class folder it is in."""
    for parent in PurePosixPath(path).parents:
        if str(parent) in listing.folders:
            label, split = listing.folders[str(parent)]
            return listing.class_names[label], _split_name(split)
    return "", ""


def format_rows(listing: Listing, columns: Columns) -> Iterator[str]:
    """Yields one line of the manifest per file, usable or not."""
    for index, path in enumerate(listing.paths):
        row = {
            "path": path,
            "class": format_label(listing.labels[index], listing.class_names),
            "split": _split_name(listing.splits[index]) or None,
        }
        yield json.dumps(row | columns.row(index))


def write_manifest(manifest: Manifest, header: dict[str, Any], rows: Iterator[str], folder: Path) -> None:
    """Writes the manifest and the list of quarantined files, each completely or not at all."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_ALL)  # names may contain line breaks
    writer.writerow(["path", "class", "split", "reason"])
    for item in manifest.quarantined:
        writer.writerow(map(_escape_cell, (item.path, item.class_name, item.split, item.reason)))
    how_to_fix = "VIT_KERAS_CACHE chooses another folder."
    with (
        atomic_file(folder / MANIFEST, how_to_fix=how_to_fix) as path,
        path.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(row + "\n" for row in itertools.chain([json.dumps(header)], rows))
    write_text(folder / QUARANTINE, table.getvalue(), how_to_fix=how_to_fix)


def _escape_cell(cell: str) -> str:
    """Returns a cell that no spreadsheet runs as a formula, and that is valid text."""
    text = cell.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
