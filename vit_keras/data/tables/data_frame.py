"""Reads data frames of pandas and polars, and Arrow tables, without importing these libraries."""

from pathlib import Path
from typing import Any

from vit_keras.data.tables.table import Part, Table, make_table
from vit_keras.errors import DataError
from vit_keras.validation import list_words


def is_data_frame(source: object) -> bool:
    """Whether a source is a data frame of pandas or polars, or a table of pyarrow."""
    kinds = {(kind.__module__.split(".")[0], kind.__name__) for kind in type(source).__mro__}
    return bool(
        kinds & {("pandas", "DataFrame"), ("polars", "DataFrame"), ("polars", "LazyFrame"), ("pyarrow", "Table")}
    )


def read_data_frame(frame: Any, *, folder: Path, name: str = "the data frame") -> Table:
    """Returns a data frame as a table; relative paths in it start from `folder`, and its rows are counted from 0."""
    if type(frame).__name__ == "LazyFrame":
        frame = frame.collect()
    kind = type(frame).__module__.split(".")[0]
    if kind == "pandas" and any(level is not None for level in frame.index.names):
        frame = frame.reset_index()  # an index with a name is a column, such as of files
    names = [str(column) for column in (frame.column_names if kind == "pyarrow" else frame.columns)]
    repeated = sorted({column for column in names if names.count(column) > 1})
    if repeated:
        raise DataError(f"{name}: several columns are named {list_words(repeated)}; give each column its own name.")
    if kind == "pandas":
        values = [frame.iloc[:, place].tolist() for place in range(len(names))]
    elif kind == "polars":
        values = [series.to_list() for series in frame.get_columns()]
    else:
        values = [_list_values(column) for column in frame.columns]
    return make_table(Part(name, folder), dict(zip(names, values, strict=True)), first_row=0)


def _list_values(column: Any) -> list[Any]:
    """Returns the values of a column of pyarrow; integers as texts, which is faster than to make integers first."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_integer(kind):
        column, kind = column.cast(pa.string()), pa.string()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.fill_null("")
    values: list[Any] = column.to_pylist()
    return values
