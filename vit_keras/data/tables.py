"""Lists the files of a table: a CSV of paths and labels."""

import csv
import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np

from vit_keras.data.listing import SPLIT_NAMES, SPLITS, Listing
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError

_PATHS = ("path", "file", "filename", "file_name", "image", "filepath")
_LABELS = ("label", "class", "class_name", "target", "category")
_MOST_SHOWN = 10


def list_table(table: Path) -> Listing:
    """Returns the files of a CSV with a header: a column of paths, one of labels, and perhaps one called `split`.

    Paths are relative to the table's folder and stay inside it; labels are names of classes.

    Args:
        table: The file, in UTF-8; `.tsv` is parted by tabs.

    Raises:
        DataError: The table can't be read, or rows of it can't be used; each is named by its number, the header being 1.
        EmptyDatasetError: It has no rows.
        ClassLayoutError: It has one class alone.
    """
    root = table.parent.resolve()
    paths, names, splits, wrong = [], [], [], []
    seen: dict[str, int] = {}
    for number, (path, label, split) in _rows(table):
        reasons = _faults(root, path, label, split)
        if path in seen:
            reasons.append(f"the same file as in row {seen[path]}")
        seen.setdefault(path, number)
        if reasons:
            wrong.append(f"row {number}, {path!r}: {'; '.join(reasons)}")
            continue
        paths.append(str(PurePosixPath(path)))
        names.append(unicodedata.normalize("NFC", label))
        splits.append(SPLITS.index(SPLIT_NAMES[split.lower()]) if split else -1)
    if wrong:
        more = f"\n  and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
        listed = "\n  ".join(wrong[:_MOST_SHOWN])
        raise DataError(f"{table}: {len(wrong)} rows can't be used:\n  {listed}{more}")
    if not paths:
        raise EmptyDatasetError(f"{table}: there are no rows under the header.")
    if len(set(splits)) > 1 and -1 in splits:
        raise DataError(
            f"{table}: {splits.count(-1)} rows have no split, the others have; name one in every row or in none."
        )
    return _listing(table, root, paths, names, splits)


def _listing(table: Path, root: Path, paths: list[str], names: list[str], splits: list[int]) -> Listing:
    known = {name for name, split in zip(names, splits, strict=True) if split <= 0}
    unknown = sorted(set(names) - known)
    if unknown:
        raise ClassLayoutError(
            f"{table}: the labels {unknown} are in validation or test alone; training needs them too."
        )
    class_names = tuple(sorted(known))
    if len(class_names) < 2:
        raise ClassLayoutError(f"{table}: two classes or more are needed, found {list(class_names)}.")
    if len({name.casefold() for name in class_names}) < len(class_names):
        raise ClassLayoutError(f"{table}: some labels differ only in case: {list(class_names)}.")
    labels = {name: label for label, name in enumerate(class_names)}
    return Listing(
        root=root,
        class_names=class_names,
        paths=paths,
        labels=np.asarray([labels[name] for name in names], dtype="int32"),
        splits=np.asarray(splits, dtype="int8"),
        rejected=(),
        ignored={},
    )


def _rows(table: Path) -> list[tuple[int, tuple[str, str, str]]]:
    """Returns row numbers with path, label and split."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if table.suffix.lower() == ".tsv" else ",", strict=True)
            header = [word.strip().lower() for word in next(reader, [])]
            chosen = _columns(table, header)
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(f"{table}: row {reader.line_num} has {len(row)} cells, the header {len(header)}.")
                path, label, split = (row[place].strip() if place is not None else "" for place in chosen)
                rows.append((reader.line_num, (path, label, split)))
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a table in UTF-8 ({error}). Save it as CSV in UTF-8.") from error
    except OSError as error:
        raise DataError(f"{table}: could not be read ({error}).") from error


def _columns(table: Path, header: list[str]) -> tuple[int, int, int | None]:
    def place(words: tuple[str, ...]) -> int:
        found = [header.index(word) for word in words if word in header]
        if not found:
            raise DataError(f"{table}: row 1 has the columns {header}; one must be called {' or '.join(words)}.")
        return found[0]

    return place(_PATHS), place(_LABELS), header.index("split") if "split" in header else None


def _faults(root: Path, path: str, label: str, split: str) -> list[str]:
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
    if split and split.lower() not in SPLIT_NAMES:
        reasons.append(f"the split {split!r} is none of {', '.join(SPLITS)}")
    return reasons
