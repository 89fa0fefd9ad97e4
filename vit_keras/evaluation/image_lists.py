"""Reads lists of image files: a table with a column of paths, or one path per line."""

import csv
from pathlib import Path

from vit_keras.data.images.signatures import USUAL_SUFFIXES
from vit_keras.errors import DataError, EmptyDatasetError

SUFFIXES = (".csv", ".tsv", ".txt")
_PATHS = ("path", "file", "filename", "file_name", "image", "filepath", "image_path")
_LABELS = ("label", "class", "class_name", "target", "category")


def is_image_list(path: Path) -> bool:
    """Whether a file is a list of images, by its suffix."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_image_list(table: Path) -> list[tuple[Path, str | None]]:
    """Returns path and label of each row; the label is None where the list has none.

    A CSV file has a header with a column of paths (and perhaps one of labels), or no header and the paths in its first column, the
    labels in its second. Relative paths start at the table's folder, else at the current directory.
    """
    try:
        text = table.read_text("utf-8-sig", errors="surrogateescape")
        rows = [[line.strip()] for line in text.splitlines()] if table.suffix.lower() == ".txt" else _read_rows(text)
    except OSError as error:
        raise DataError(f"{table}: could not be read ({error}).") from error
    except csv.Error as error:
        raise DataError(f"{table}: not a CSV file ({error}). Save it as CSV in UTF-8.") from error
    rows = [row for row in rows if any(row)]
    path_column, label_column, has_header = _find_columns(table, rows)
    found = []
    for row in rows[has_header:]:
        label = row[label_column] if label_column is not None and label_column < len(row) else None
        if path_column < len(row) and row[path_column]:
            found.append((_locate(table.parent, row[path_column]), label or None))
    if not found:
        raise EmptyDatasetError(f"{table}: this list names no images.")
    return found


def read_lines(text: str) -> list[Path]:
    r"""Returns the paths in a text: one per line, or separated by NUL, as `find -print0` writes them.

    >>> [path.name for path in read_lines("cats/1.jpg\n\na b.png\n")]
    ['1.jpg', 'a b.png']
    """
    separated = text.split("\0") if "\0" in text else text.splitlines()
    return [Path(each) for each in map(str.strip, separated) if each]


def _read_rows(text: str) -> list[list[str]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter, strict=True)]


def _find_columns(table: Path, rows: list[list[str]]) -> tuple[int, int | None, bool]:
    """Returns the columns of paths and labels, and whether there is a header."""
    header = [cell.lower().replace(" ", "_").replace("-", "_") for cell in rows[0]] if rows else []
    paths = [header.index(word) for word in _PATHS if word in header]
    labels = [header.index(word) for word in _LABELS if word in header]
    if paths:
        return paths[0], labels[0] if labels else None, True
    is_path = table.suffix.lower() == ".txt" or any(cell.endswith(USUAL_SUFFIXES) for cell in header)
    if not is_path and header:
        raise DataError(
            f"{table}: the header (row 1) has the columns {rows[0]}; name one of them {' or '.join(_PATHS)}."
        )
    return 0, 1 if len(header) > 1 else None, False


def _locate(folder: Path, word: str) -> Path:
    path = Path(word).expanduser()
    return folder / path if (folder / path).exists() or not path.exists() else path
