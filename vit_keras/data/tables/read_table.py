"""Reads a table of any format: text, JSON lines, Parquet, or a data frame."""

import importlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vit_keras.data.tables.data_frame import is_data_frame, read_data_frame
from vit_keras.data.tables.files import FileFinder
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.table import Part, Table, make_table
from vit_keras.data.tables.text_table import read_text_table
from vit_keras.errors import DataError, EmptyDatasetError

JSON_LINES, PARQUET = (".jsonl", ".ndjson"), (".parquet", ".pq")
SUFFIXES = (".csv", ".tsv", ".txt", *JSON_LINES, *PARQUET)
_SHEETS = (".xls", ".xlsx", ".ods")
_PARQUET_READERS: dict[str, Callable[[Any, Path], Any]] = {  # by module; whichever is installed
    "pyarrow.parquet": lambda module, path: module.ParquetFile(path).read(),
    "polars": lambda module, path: module.read_parquet(path),
    "pandas": lambda module, path: module.read_parquet(path),
}


def is_table(source: object) -> bool:
    """Whether a source is a data frame, or the name of a table by its suffix."""
    return is_data_frame(source) or (
        isinstance(source, str | Path) and str(source).lower().endswith((*SUFFIXES, *_SHEETS))
    )


def read_table(source: Any, options: TableOptions) -> Table:
    """Returns the table in a file or a data frame; raises `DataError` if there is none."""
    if is_data_frame(source):
        table = read_data_frame(source, folder=Path.cwd())
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: there is no such file.")
        suffix = path.suffix.lower()
        if suffix in _SHEETS:
            raise DataError(f"{path}: spreadsheets can't be read; save it as CSV in UTF-8.")
        if suffix in PARQUET:
            table = _read_parquet(path)
        elif suffix in JSON_LINES:
            table = _read_json_lines(path)
        else:
            named = (*options.label_columns, *([options.image_column] if options.image_column else ()))
            finder = FileFinder(image_folder(path.parent, options))
            table = read_text_table(path, finder=finder, named=named)
    if not len(table):
        raise EmptyDatasetError(f"{table.name}: there are no rows{' below the header' if table.has_header else ''}.")
    return table


def image_folder(folder: Path, options: TableOptions) -> Path:
    """Returns the folder that relative paths of a table in a folder start from."""
    return folder if options.image_dir is None else Path(options.image_dir).expanduser()


def _read_json_lines(path: Path) -> Table:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not JSON lines in UTF-8 ({error}).") from error
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error}).") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError(
                f'{path}: line {number} is not a JSON object, such as {{"file_name": "1.jpg", "label": "cat"}}: {line[:60]!r}.'
            )
        rows.append((number, row))
    names = dict.fromkeys(name for _, row in rows for name in row)
    table = make_table(Part(str(path), path.parent), {name: [row.get(name) for _, row in rows] for name in names})
    return Table(table.parts, table.columns, [number for number, _ in rows], [0] * len(rows))


def _read_parquet(path: Path) -> Table:
    for name, read in _PARQUET_READERS.items():
        if importlib.util.find_spec(name.split(".")[0]) is None:
            continue
        try:
            frame = read(importlib.import_module(name), path)
        except ImportError:  # pandas without an engine
            continue
        except Exception as error:  # each library has its own
            raise DataError(f"{path}: not a readable Parquet file ({error}).") from error
        return read_data_frame(frame, folder=path.parent, name=str(path))
    raise DataError(
        f"{path}: reading Parquet needs pyarrow (pip install pyarrow), polars or pandas; or save it as CSV."
    )
