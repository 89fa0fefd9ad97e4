"""Lists the files of a table: a CSV file of paths, labels and perhaps splits."""

import csv
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from vit_keras.data.class_names import describe_order, order_classes
from vit_keras.data.scan.listing import Listing
from vit_keras.data.split_names import SPLITS, describe_splits, parse_split
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError
from vit_keras.reporting.text import plural

_PATHS = ("path", "file", "filename", "file_name", "image", "filepath")
_LABELS = ("label", "class", "class_name", "target", "category")
_SPLITS = ("set", "subset", "partition", "data_split", "dataset_split", "fold")  # unless there is a column "split"
_MAX_LISTED = 10


def list_table(
    table: Path, *, class_names: tuple[str, ...] | None = None, splits: Mapping[str, str] | None = None
) -> Listing:
    """Returns the files of a CSV file with a header: a column of paths, one of labels, and perhaps one of splits.

    Paths are relative to the table's folder and stay inside it; labels are class names. The splits are those of a column named
    `split`, `set`, `subset`, `fold` or similar; else of a column whose values all name splits; else of the first level of folders
    in the paths that all name splits.
    """
    root = table.parent.resolve()
    content = _read(table)
    found = _find_splits(table, content, splits)
    paths, names, numbers, wrong = [], [], [], []
    first_rows: dict[str, int] = {}
    for (number, cells), value in zip(content.rows, found.values, strict=True):
        path, label, split = cells[content.paths], cells[content.labels], found.parse(value)
        reasons = _find_faults(root, path, label)
        if value and split is None:
            reasons.append(
                f"the split {value!r} is none of {', '.join(SPLITS)}; state it with ReadOptions(splits=...), or leave the cells of a "
                "column split empty for no splits"
            )
        if path in first_rows:
            reasons.append(f"the same file as in row {first_rows[path]}")
        first_rows.setdefault(path, number)
        if reasons:
            wrong.append(f"row {number}, {path!r}: {'; '.join(reasons)}")
            continue
        paths.append(str(PurePosixPath(path)))
        names.append(unicodedata.normalize("NFC", label))
        numbers.append(SPLITS.index(split) if split else -1)
    if wrong:
        listed = "\n  ".join(wrong[:_MAX_LISTED])
        more = f"\n  and {len(wrong) - _MAX_LISTED} more" if len(wrong) > _MAX_LISTED else ""
        raise DataError(f"{table}: {plural(len(wrong), 'row')} can't be used:\n  {listed}{more}")
    if not paths:
        raise EmptyDatasetError(f"{table}: there are no rows below the header.")
    if len(set(numbers)) > 1 and -1 in numbers:
        raise DataError(f"{table}: {numbers.count(-1)} rows have no split; state the split of every row or of none.")
    order = _order_labels(table, names, numbers, class_names)
    labels = {name: label for label, name in enumerate(order)}
    return Listing(
        root=root,
        class_names=order,
        paths=paths,
        labels=np.asarray([labels[name] for name in names], dtype="int32"),
        splits=np.asarray(numbers, dtype="int8"),
        decisions=(*found.decisions, *describe_order(order, class_names)),
    )


def _order_labels(table: Path, names: list[str], splits: list[int], given: tuple[str, ...] | None) -> tuple[str, ...]:
    known = {name for name, split in zip(names, splits, strict=True) if split <= 0}
    unknown = sorted(set(names) - known)
    if unknown:
        raise ClassLayoutError(f"{table}: no training image has the labels {unknown} of validation or test images.")
    class_names = order_classes(known, given, table)
    if len(class_names) < 2:
        raise ClassLayoutError(f"{table}: at least two classes are needed, found {list(class_names)}.")
    if len({name.casefold() for name in class_names}) < len(class_names):
        raise ClassLayoutError(f"{table}: some labels differ only in case: {list(class_names)}.")
    return class_names


@dataclass(frozen=True)
class _Content:
    """A table; `rows` are numbers and cells, `paths` and `labels` the indices of those columns."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
    paths: int
    labels: int

    def column(self, index: int) -> list[str]:
        return [cells[index] for _, cells in self.rows]


def _read(table: Path) -> _Content:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if table.suffix.lower() == ".tsv" else ",", strict=True)
            header = [word.strip().lower().replace(" ", "_").replace("-", "_") for word in next(reader, [])]
            paths, labels = (_find_column(table, header, words) for words in (_PATHS, _LABELS))
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{table}: row {reader.line_num} has {plural(len(row), 'cell')}, the header {len(header)}."
                    )
                rows.append((reader.line_num, [cell.strip() for cell in row]))
            return _Content(header, rows, paths, labels)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error}). Save it as CSV in UTF-8.") from error
    except OSError as error:
        raise DataError(f"{table}: could not be read ({error}).") from error


def _find_column(table: Path, header: list[str], words: tuple[str, ...]) -> int:
    found = [header.index(word) for word in words if word in header]
    if not found:
        raise DataError(f"{table}: the header (row 1) has the columns {header}; name one of them {' or '.join(words)}.")
    return found[0]


@dataclass(frozen=True)
class _Splits:
    """What each row says about its split (all empty: no splits), and the split of each value as stated by the user, if it was."""

    values: list[str]
    stated: Mapping[str, str] | None
    decisions: tuple[str, ...] = ()

    def parse(self, value: str) -> str | None:
        return parse_split(value) if self.stated is None else self.stated.get(value)

    @property
    def is_complete(self) -> bool:
        """Whether every row has a split, some "train" and some another."""
        splits = {self.parse(value) for value in set(self.values)}
        return None not in splits and "train" in splits and len(splits) > 1

    def describe(self, what: str) -> "_Splits":
        """Returns the splits with a sentence about where they were found."""
        found = {value: split for value in dict.fromkeys(self.values) if (split := self.parse(value))}
        return replace(self, decisions=describe_splits(found, what) or (f"{what} read as splits",))


def _find_splits(table: Path, content: _Content, stated: Mapping[str, str] | None) -> _Splits:
    """Returns the split of each row: by a column's name, else by its values, else by the folders in the paths."""
    no_splits = _Splits([""] * len(content.rows), stated)
    if stated is not None and not stated:
        return no_splits
    columns = {
        name: _Splits(content.column(index), stated)
        for index, name in enumerate(content.header)
        if index not in (content.paths, content.labels)
    }
    if "split" in columns:
        return columns["split"]
    named = {name: found for name, found in columns.items() if name in _SPLITS}
    complete = {name: found for name, found in (named or columns).items() if found.is_complete}
    if len({tuple(map(found.parse, found.values)) for found in complete.values()}) > 1:
        raise DataError(f"{table}: the columns {list(complete)} contain different splits; name the right one split.")
    for name, found in complete.items():
        return found.describe(f"cells of the column {name}")
    for found in named.values():
        return found  # not recognized: an error names each of its rows
    return _find_folder_splits(content, stated) or no_splits


def _find_folder_splits(content: _Content, stated: Mapping[str, str] | None) -> _Splits | None:
    folders = [PurePosixPath(path).parts[:-1] for path in content.column(content.paths)]
    for level in range(min(map(len, folders), default=0)):
        found = _Splits([parts[level] for parts in folders], stated)
        if found.is_complete:
            return found.describe("folders in the paths")
    return None


def _find_faults(root: Path, path: str, label: str) -> list[str]:
    reasons = []
    if not path:
        reasons.append("no path")
    elif "\0" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
        reasons.append("the path must be relative to the table's folder and inside it, and use / as separator")
    elif not (root / path).is_file():
        reasons.append("there is no such file")
    elif not (root / path).resolve().is_relative_to(root):
        reasons.append("the file is a link out of the table's folder")
    if not label:
        reasons.append("no label")
    return reasons
