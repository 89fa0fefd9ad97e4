"""Reads tables from text files: comma, semicolon, tab or blank between the cells, with or without a header."""

import codecs
import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vit_keras.data.images.signatures import USUAL_SUFFIXES
from vit_keras.data.tables.arrow_text import is_large, split_large
from vit_keras.data.tables.blanks import may_have_blanks
from vit_keras.data.tables.columns import IMAGE_WORDS, LABEL_WORDS
from vit_keras.data.tables.files import FileFinder
from vit_keras.data.tables.table import Part, Table, normalize
from vit_keras.errors import DataError, EmptyDatasetError
from vit_keras.reporting.text import plural
from vit_keras.validation import list_words

_DELIMITERS = (",", ";", "\t")
_SAMPLE = 20  # rows
_START = 2**16  # characters, in which the first rows are
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def read_text_table(path: Path, *, finder: FileFinder, named: tuple[str, ...] = ()) -> Table:
    """Returns the table in a text file.

    The delimiter is the one that gives every row the same number of cells. The first row is the header, unless it names an image
    file; `named` are columns that the user asked for, which only a header has.
    """
    content = _read(path)
    flat = None
    if is_large(content):
        flat = split_large(content, _find_delimiter(content[:_START].decode("ascii").rpartition("\n")[0], finder))
    if flat is None:
        text = _decode(path, content)
        delimiter = _find_delimiter(_take_start(text), finder)
        flat = _split_plain(text, delimiter)
    if flat is not None:
        first, columns = flat
        if _is_header(first, finder, named):
            header, start = _name_columns(path, first), 2
        else:
            header, start = [str(index + 1) for index in range(len(first))], 1
            columns = [[cell, *column] for cell, column in zip(first, columns, strict=True)]
        rows_of_file = range(start, start + len(columns[0]))
        cells_by_name = dict(zip(header, columns, strict=True))
        return Table((Part(str(path), path.parent),), cells_by_name, rows_of_file, [0] * len(rows_of_file), start == 2)
    try:
        rows = _read_rows(text, delimiter)
        first_number, first = next(rows, (1, []))
        if not first:
            raise EmptyDatasetError(f"{path}: there are no rows.")
        has_header = _is_header(first, finder, named)
        header = _name_columns(path, first) if has_header else [str(index + 1) for index in range(len(first))]
        numbers, cells = list[int](), [list[Any]() for _ in header]
        for number, row in rows if has_header else itertools.chain([(first_number, first)], rows):
            if len(row) > len(header) and not any(row[len(header) :]):  # delimiters at the end
                row = row[: len(header)]
            if len(row) != len(header):
                what = "the header" if has_header else "the first row"
                raise DataError(
                    f"{path}: row {number} has {plural(len(row), 'cell')}, {what} {len(header)} (cells are separated by {delimiter!r}). "
                    "Put cells with a separator in them in double quotes."
                )
            numbers.append(number)
            for column, cell in zip(cells, row, strict=True):
                column.append(cell)
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error}). Save it as CSV in UTF-8.") from error
    return Table(
        (Part(str(path), path.parent),), dict(zip(header, cells, strict=True)), numbers, [0] * len(numbers), has_header
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error}).") from error


def _decode(path: Path, content: bytes) -> str:
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error}). Save it as CSV in UTF-8.") from error


def _split_plain(text: str, delimiter: str) -> tuple[list[str], list[list[str]]] | None:
    """Returns the first row, and the columns of the others, of a text without quotes whose rows all have the same number of cells, two or more.

    None for any other text, which `csv` reads, at a tenth of the speed.
    """
    if '"' in text or "\0" in text or delimiter == " ":
        return None
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    text = text.rstrip("\n")
    width = text.partition("\n")[0].count(delimiter) + 1
    if "\r" in text or width < 2:
        return None
    # A line break as a cell of its own after each row shows whether all rows have as many cells as the first.
    cells = text.replace("\n", f"{delimiter}\n{delimiter}").split(delimiter)
    ends = cells[width :: width + 1]
    if len(cells) % (width + 1) != width or not ends.count("\n") == len(ends) == text.count("\n"):
        return None
    columns = [cells[column :: width + 1] for column in range(width)]
    if may_have_blanks(text, delimiter):
        columns = [list(map(str.strip, column)) for column in columns]
    if all("" in column for column in columns) and not all(map(any, zip(*columns, strict=True))):
        return None  # a row of empty cells, which is none
    return [column[0] for column in columns], [column[1:] for column in columns]


def _read_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields number and cells of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if delimiter == " ":
            cells = cells[:-1] if cells and not cells[-1] else cells
        if any(cells):
            yield reader.line_num, cells


def _take_start(text: str) -> str:
    """Returns the first rows of a long text, complete."""
    return text if len(text) <= _START else text[:_START].rpartition("\n")[0] or text


def _find_delimiter(text: str, finder: FileFinder) -> str:
    """Returns the delimiter that splits the first rows best: into the same number of cells, and into known names and files."""
    scores = {}
    for delimiter in _DELIMITERS:
        try:
            rows = [cells for _, cells in itertools.islice(_read_rows(text, delimiter), _SAMPLE)]
        except csv.Error:
            continue
        if rows and len(rows[0]) > 1:
            widths = [len(row) for row in rows]
            known = sum(_is_known(cell, finder) for cell in rows[0])
            scores[delimiter] = (known, widths.count(widths[0]) / len(widths), len(rows[0]))
    if scores:
        return max(scores, key=scores.__getitem__)
    try:
        rows = [cells for _, cells in itertools.islice(_read_rows(text, " "), _SAMPLE)]
    except csv.Error:
        return ","
    return " " if rows and {len(row) for row in rows} == {2} and _is_known(rows[0][0], finder) else ","


def _is_known(cell: str, finder: FileFinder) -> bool:
    return normalize(cell) in (*IMAGE_WORDS, *LABEL_WORDS) or _is_file(cell, finder)


def _is_file(cell: str, finder: FileFinder) -> bool:
    return cell.lower().endswith(USUAL_SUFFIXES) or ("/" in cell and finder.find(cell) is not None)


def _is_header(first: list[str], finder: FileFinder, named: tuple[str, ...]) -> bool:
    words = {normalize(cell) for cell in first}
    if words & {normalize(name) for name in named} - {str(index + 1) for index in range(len(first))}:
        return True
    if any(_is_file(cell, finder) for cell in first):
        return False
    if words & {*IMAGE_WORDS, *LABEL_WORDS}:
        return True
    return all(finder.find(cell) is None for cell in first)  # names without their ending


def _name_columns(path: Path, header: list[str]) -> list[str]:
    """Returns the names of the columns; those without a name are numbered."""
    names = [name or f"column {index + 1}" for index, name in enumerate(header)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path}: the header (row 1) has {list_words(repeated)} more than once; give each column its own name."
        )
    return names
