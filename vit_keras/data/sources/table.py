"""Lists the files of a table: a CSV of paths and labels."""

import csv
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from vit_keras.data.scan.listing import Listing
from vit_keras.data.sources.class_names import decided_order, ordered
from vit_keras.data.sources.split_names import SPLITS, decided, split_of
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError

_PATHS = ("path", "file", "filename", "file_name", "image", "filepath")
_LABELS = ("label", "class", "class_name", "target", "category")
_SPLITS = ("set", "subset", "partition", "data_split", "dataset_split", "fold")
"""What a column of splits is called where none is called split; one of another name is known by its cells."""
_MOST_SHOWN = 10


def list_table(
    table: Path, *, class_names: tuple[str, ...] | None = None, splits: Mapping[str, str] | None = None
) -> Listing:
    """Returns the files of a CSV with a header: a column of paths, one of labels, and perhaps one of splits.

    Paths are relative to the table's folder and stay inside it; labels are names of classes. The splits are those of a column
    called `split`, `set`, `subset`, `fold` or the like, else of a column that holds nothing but names of splits, else of the
    folders in the paths where one level of them holds nothing but names of splits.

    Args:
        table: The file, in UTF-8; `.tsv` is parted by tabs.
        class_names: The classes in the order of the labels; None for natural order.
        splits: Which cell of the column is which split; empty for no splits, None to go by the names.

    Raises:
        DataError: The table can't be read, or rows of it can't be used; each is named by its number, the header being 1.
        EmptyDatasetError: It has no rows.
        ClassLayoutError: It has one class alone.
    """
    root = table.parent.resolve()
    content = _read(table)
    found = _splits_of(table, content, splits)
    paths, names, numbers, wrong = [], [], [], []
    seen: dict[str, int] = {}
    for (number, _), path, label, cell in zip(
        content.rows, content.column(content.paths), content.column(content.labels), found.cells, strict=True
    ):
        split = found.meaning(cell)
        reasons = _faults(root, path, label)
        if cell and split is None:
            reasons.append(
                f"the split {cell!r} is none of {', '.join(SPLITS)}; say which it is with ReadOptions(splits=...), or leave the cells of "
                "a column split empty for no splits"
            )
        if path in seen:
            reasons.append(f"the same file as in row {seen[path]}")
        seen.setdefault(path, number)
        if reasons:
            wrong.append(f"row {number}, {path!r}: {'; '.join(reasons)}")
            continue
        paths.append(str(PurePosixPath(path)))
        names.append(unicodedata.normalize("NFC", label))
        numbers.append(SPLITS.index(split) if split else -1)
    if wrong:
        more = f"\n  and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
        listed = "\n  ".join(wrong[:_MOST_SHOWN])
        raise DataError(f"{table}: {len(wrong)} rows can't be used:\n  {listed}{more}")
    if not paths:
        raise EmptyDatasetError(f"{table}: there are no rows under the header.")
    if len(set(numbers)) > 1 and -1 in numbers:
        raise DataError(
            f"{table}: {numbers.count(-1)} rows have no split, the others have; name one in every row or in none."
        )
    labels, order = _labels(table, names, numbers, class_names)
    return Listing(
        root=root,
        class_names=order,
        paths=paths,
        labels=labels,
        splits=np.asarray(numbers, dtype="int8"),
        decisions=(*found.decisions, *decided_order(order, class_names)),
    )


def _labels(
    table: Path, names: list[str], splits: list[int], given: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the label of each row, and the classes in order."""
    known = {name for name, split in zip(names, splits, strict=True) if split <= 0}
    unknown = sorted(set(names) - known)
    if unknown:
        raise ClassLayoutError(
            f"{table}: the labels {unknown} are in validation or test alone; training needs them too."
        )
    class_names = ordered(known, given, table)
    if len(class_names) < 2:
        raise ClassLayoutError(f"{table}: two classes or more are needed, found {list(class_names)}.")
    if len({name.casefold() for name in class_names}) < len(class_names):
        raise ClassLayoutError(f"{table}: some labels differ only in case: {list(class_names)}.")
    labels = {name: label for label, name in enumerate(class_names)}
    return np.asarray([labels[name] for name in names], dtype="int32"), class_names


@dataclass(frozen=True)
class _Content:
    """A table as it was read.

    Args:
        header: Names of the columns.
        rows: The number of each row in the file, and its cells.
        paths: The column of paths.
        labels: The column of labels.
    """

    header: list[str]
    rows: list[tuple[int, list[str]]]
    paths: int
    labels: int

    def column(self, place: int) -> list[str]:
        """Returns the cells of a column."""
        return [cells[place] for _, cells in self.rows]


def _read(table: Path) -> _Content:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if table.suffix.lower() == ".tsv" else ",", strict=True)
            header = [word.strip().lower().replace(" ", "_").replace("-", "_") for word in next(reader, [])]
            paths, labels = (_place(table, header, words) for words in (_PATHS, _LABELS))
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(f"{table}: row {reader.line_num} has {len(row)} cells, the header {len(header)}.")
                rows.append((reader.line_num, [cell.strip() for cell in row]))
            return _Content(header, rows, paths, labels)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a table in UTF-8 ({error}). Save it as CSV in UTF-8.") from error
    except OSError as error:
        raise DataError(f"{table}: could not be read ({error}).") from error


def _place(table: Path, header: list[str], words: tuple[str, ...]) -> int:
    found = [header.index(word) for word in words if word in header]
    if not found:
        raise DataError(f"{table}: row 1 has the columns {header}; one must be called {' or '.join(words)}.")
    return found[0]


@dataclass(frozen=True)
class _Splits:
    """Which row is of which split.

    Args:
        cells: What each row says; all empty where there are no splits.
        stated: The split of each cell, as the caller stated it; None to go by the names.
        decisions: How that was found where it is not plain, in words.
    """

    cells: list[str]
    stated: Mapping[str, str] | None
    decisions: tuple[str, ...] = ()

    def meaning(self, cell: str) -> str | None:
        """Returns the split of a cell; None where it is none."""
        return split_of(cell) if self.stated is None else self.stated.get(cell)

    @property
    def is_telling(self) -> bool:
        """Whether every row has a split, and some are to train on and some are not."""
        meanings = {self.meaning(cell) for cell in set(self.cells)}
        return None not in meanings and "train" in meanings and len(meanings) > 1

    @property
    def meanings(self) -> list[str | None]:
        """The split of each row."""
        return [self.meaning(cell) for cell in self.cells]

    def named(self, what: str) -> "_Splits":
        """Returns them with the words for where they were found."""
        said = {cell: split for cell in dict.fromkeys(self.cells) if (split := self.meaning(cell))}
        return replace(self, decisions=decided(said, what) or (f"{what} read as splits",))


def _splits_of(table: Path, content: _Content, stated: Mapping[str, str] | None) -> _Splits:
    """Returns the split of each row: by a column's name, else by its cells, else by the folders in the paths."""
    nothing = _Splits([""] * len(content.rows), stated)
    if stated is not None and not stated:
        return nothing
    columns = {
        name: _Splits(content.column(place), stated)
        for place, name in enumerate(content.header)
        if place not in (content.paths, content.labels)
    }
    if "split" in columns:
        return columns["split"]
    named = {name: found for name, found in columns.items() if name in _SPLITS}
    telling = {name: found for name, found in (named or columns).items() if found.is_telling}
    if len({tuple(found.meanings) for found in telling.values()}) > 1:
        raise DataError(
            f"{table}: the columns {list(telling)} all tell splits, not the same; call the right one split."
        )
    for name, found in telling.items():
        return found.named(f"cells of the column {name}")
    for found in named.values():
        return found  # not understood: each of its rows is named
    return _by_folders(content, stated) or nothing


def _by_folders(content: _Content, stated: Mapping[str, str] | None) -> _Splits | None:
    """Returns the split of each row by the first level of folders that holds nothing but splits; None where there is none."""
    folders = [PurePosixPath(path).parts[:-1] for path in content.column(content.paths)]
    for level in range(min(map(len, folders), default=0)):
        found = _Splits([parts[level] for parts in folders], stated)
        if found.is_telling:
            return found.named("folders in the paths")
    return None


def _faults(root: Path, path: str, label: str) -> list[str]:
    reasons = []
    if not path:
        reasons.append("no path")
    elif "\0" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
        reasons.append("the path must be relative to the table, with / between, and stay in its folder")
    elif not (root / path).is_file():
        reasons.append("there is no such file")
    elif not (root / path).resolve().is_relative_to(root):
        reasons.append("the file is a link out of the table's folder")
    if not label:
        reasons.append("no label")
    return reasons
