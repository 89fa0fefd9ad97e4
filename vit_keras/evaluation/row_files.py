"""Writes tables row by row, as CSV, JSON lines or Parquet: complete or not at all, in memory that does not grow with the rows."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.runtime.files import atomic_file

CSV, JSON_LINES, PARQUET = ".csv", ".jsonl", ".parquet"
SUFFIXES = (CSV, JSON_LINES, PARQUET)
_GROUP = 10_000  # rows that Parquet stores together

Write = Callable[[Mapping[str, Any]], None]


def check_new_file(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raises an error where a file can't be written under this name: it exists, or ends in none of the suffixes."""
    if path.suffix.lower() not in suffixes:
        raise InvalidArgumentError(f"{path}: the name must end in {' or '.join(suffixes)}.")
    if path.exists():
        raise StorageError(f"{path} exists, and nothing is overwritten: choose another name, or remove it first.")
    if not path.parent.is_dir():
        raise StorageError(f"{path}: there is no folder {path.parent}.")
    if path.suffix.lower() == PARQUET:
        import_pyarrow(path)


@contextmanager
def write_rows(path: Path, columns: Mapping[str, str]) -> Iterator[Write]:
    """Yields a function that writes a row; the file appears when the block ends without an error.

    Args:
        path: A name that ends in one of `SUFFIXES`.
        columns: Types by name, as Arrow calls them: "string", "double" or "list<float>"; values may be None. JSON lines have none.
    """
    check_new_file(path)
    suffix = path.suffix.lower()
    with atomic_file(path) as unfinished:
        if suffix == PARQUET:
            with _parquet_writer(unfinished, columns) as write:
                yield write
            return
        # Bytes of file names that are not UTF-8 become \udc..., as in what is printed.
        with unfinished.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if suffix == CSV:
                writer = csv.DictWriter(file, list(columns), lineterminator="\n")
                writer.writeheader()
                yield writer.writerow
            else:
                yield lambda row: _write_line(file, row)


def _write_line(file: Any, row: Mapping[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=True) + "\n")


def import_pyarrow(path: Path) -> Any:
    """Returns the module pyarrow, which few need."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InvalidArgumentError(
            f"{path}: Parquet files need pyarrow, which is not installed: pip install pyarrow, or choose another format."
        ) from error
    return pyarrow


@contextmanager
def _parquet_writer(path: Path, columns: Mapping[str, str]) -> Iterator[Write]:
    arrow = import_pyarrow(path)
    types = {"string": arrow.string(), "double": arrow.float64(), "list<float>": arrow.list_(arrow.float32())}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    rows: list[Mapping[str, Any]] = []

    def store() -> None:
        arrays = [arrow.array([_clean(row.get(field.name)) for row in rows], field.type) for field in schema]
        file.write_table(arrow.Table.from_arrays(arrays, schema=schema))
        rows.clear()

    def write(row: Mapping[str, Any]) -> None:
        rows.append(row)
        if len(rows) == _GROUP:
            store()

    with arrow.parquet.ParquetWriter(path, schema) as file:
        yield write
        store()


def _clean(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
