"""Finds the columns of image files and of labels."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from vit_keras.data.split_names import parse_split
from vit_keras.data.tables.files import FileFinder
from vit_keras.data.tables.table import Table, normalize
from vit_keras.errors import DataError

IMAGE_WORDS = (
    "path", "file", "filename", "file_name", "image", "filepath", "file_path", "image_path", "img_path", "image_file", "image_name", "img",
)  # fmt: skip
_WEAK_IMAGE_WORDS = ("image_id", "id", "name", "picture", "photo")  # only if nothing else is an image
LABEL_WORDS = (
    "label", "class", "class_name", "target", "category", "labels", "classes", "label_name", "category_name", "tags", "tag", "class_id",
    "label_id", "category_id", "classid", "labelid", "species", "diagnosis",
)  # fmt: skip
CLASS_WORDS = tuple(word for word in LABEL_WORDS if word != "target")  # whose numbers are classes, however many
SPLIT_WORDS = ("split", "set", "subset", "partition", "data_split", "dataset_split", "fold")
_NO_LABELS = ("index", "level_0", "id", "width", "height", "size", "url", "is_valid", *SPLIT_WORDS, *_WEAK_IMAGE_WORDS)
_SAMPLE = 50  # cells
_LARGEST = float(np.finfo("float32").max)


class ColumnError(DataError):
    """It is not clear which column holds the image files, or the labels."""


def choose_image_column(table: Table, wanted: str | None, finder: FileFinder) -> tuple[str, tuple[str, ...]]:
    """Returns the column of image files, and a sentence on the choice unless its name is usual.

    Args:
        table: The table.
        wanted: The name of the column, if the user gave it.
        finder: Finds the files of the table.

    Raises:
        ColumnError: It is not clear which column it is.
        DataError: There is no such column.
    """
    if wanted is not None:
        return table.find_column(wanted, "image_column"), ()
    found = _first_named(table, IMAGE_WORDS)
    if found is not None:
        return found, ()
    counts = {  # of different files: numbers of labels may name files, too
        name: len({finder.find(cell) for cell in cells[:_SAMPLE]} - {None}) for name, cells in table.columns.items()
    }
    best = [name for name, count in counts.items() if count and count == max(counts.values())]
    if len(best) == 1:
        what = f"column {best[0]}" if table.has_header else f"no header: column {best[0]}"
        return best[0], (f"{what} read as image files",)
    weak = _first_named(table, _WEAK_IMAGE_WORDS)
    if weak is not None and not best:
        return weak, ()
    reason = f"the columns {best} all name files" if best else "no column names image files"
    raise ColumnError(
        f"{table.name}: {reason} in {finder.folder}. The columns are {table.describe_columns()}. State the column with image_column "
        "(--image-column), and the folder of the images with image_dir (--image-dir)."
    )


def choose_label_columns(table: Table, wanted: Iterable[str], used: Iterable[str | None]) -> tuple[str, ...]:
    """Returns the column of labels, or the columns of classes as 0 and 1, or of the target of a regression.

    Args:
        table: The table.
        wanted: The names of the columns, if the user gave them.
        used: Columns that are something else.

    Raises:
        ColumnError: It is not clear which column it is.
        DataError: There is no such column.
    """
    if wanted := tuple(wanted):
        return tuple(dict.fromkeys(table.find_column(name, "label_column") for name in wanted))
    used = set(used)
    named = _first_named(table, LABEL_WORDS, used)
    if named is not None:
        return (named,)
    left = {
        name: cells
        for name, cells in table.columns.items()
        if name not in used and not _is_no_label(name) and any(cell not in ("", []) for cell in cells)
    }
    if len(left) == 1:
        return tuple(left)
    indicators = [name for name, cells in left.items() if are_indicators(cells)]
    if len(indicators) > 1:
        return tuple(indicators)
    numeric = [name for name, cells in left.items() if are_numeric(cells)]
    if len(numeric) == 1:
        return tuple(numeric)
    raise ColumnError(
        f"{table.name}: {'it is not clear which column holds' if left else 'no column holds'} the labels. The columns are "
        f"{table.describe_columns()}. State it with label_column (--label-column): one column of labels, or several of numbers; or name "
        "it label."
    )


def are_numeric(cells: Iterable[Any]) -> bool:
    """Whether all cells but empty ones are numbers, and some are."""
    filled = (cell for cell in cells if cell != "")
    first = next(filled, None)
    return parse_number(first) is not None and all(parse_number(cell) is not None for cell in filled)


def are_indicators(cells: Iterable[Any]) -> bool:
    """Whether all cells say 0 or 1, or False or True."""
    return all(parse_indicator(cell) is not None for cell in cells)


def parse_number(cell: Any) -> float | None:
    """Returns the number in a cell, or None; also for numbers that float32 can't hold.

    >>> parse_number("1e-3"), parse_number("nan"), parse_number("1_000"), parse_number("cat")
    (0.001, None, None, None)
    """
    if not isinstance(cell, str) or "_" in cell:
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if abs(number) <= _LARGEST else None


def parse_indicator(cell: Any) -> int | None:
    """Returns 0 or 1 for a cell that says so, or None."""
    if not isinstance(cell, str):
        return None
    return {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}.get(cell.lower())


def _first_named(table: Table, words: tuple[str, ...], used: Iterable[str | None] = ()) -> str | None:
    """Returns the column with the first of the words as its name."""
    by_word: dict[str, str] = {}
    for name in table.columns:
        if name not in used:
            by_word.setdefault(normalize(name), name)
    return next((by_word[word] for word in words if word in by_word), None)


def _is_no_label(name: str) -> bool:
    """Whether a column is an index, an identifier or a split by its name."""
    word = normalize(name)
    return word in _NO_LABELS or word.startswith(("unnamed:", "column_")) or parse_split(name) is not None
