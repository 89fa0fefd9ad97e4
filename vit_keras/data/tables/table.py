"""`Table`: the cells of a table by column, wherever they were read."""

import math
import numbers
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter, methodcaller
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.errors import DataError
from vit_keras.validation import closest


@dataclass(frozen=True)
class Part:
    """A file or data frame that rows of a table come from, its folder, and the split it stands for ("" for none)."""

    name: str
    folder: Path
    split: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """Cells by column. A cell is a text, or a list of texts; other values, such as image bytes, stay as they are.

    Args:
        parts: Where the rows come from.
        columns: Cells by the name of the column.
        numbers: Number of each row in its part, for messages.
        origins: Index into `parts` of each row.
        has_header: Whether the columns have names; else they are numbered from "1".
    """

    parts: tuple[Part, ...]
    columns: Mapping[str, list[Any]]
    numbers: Sequence[int]
    origins: list[int]
    has_header: bool = True
    _folders: dict[str, Counter[str]] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def name(self) -> str:
        """Names of the parts."""
        return ", ".join(part.name for part in self.parts)

    def count_folders(self, column: str) -> Counter[str]:
        """Returns the folders that the paths in a column name, with the number of their paths."""
        if column not in self._folders:
            texts: Iterable[str] = self.columns[column]
            if set(map(type, self.columns[column])) != {str}:
                texts = (cell for cell in texts if isinstance(cell, str))
            self._folders[column] = Counter(map(itemgetter(0), map(methodcaller("rpartition", "/"), texts)))
        return self._folders[column]

    def describe_row(self, index: int) -> str:
        """Returns where a row stands, such as "row 3"."""
        part = f"{self.parts[self.origins[index]].name}, " if len(self.parts) > 1 else ""
        return f"{part}row {self.numbers[index]}"

    def describe_columns(self) -> str:
        """Returns the names of the columns, each with its first value."""
        shown = []
        for name, cells in list(self.columns.items())[:12]:
            first = next((cell for cell in cells if cell not in ("", [])), "")
            shown.append(f"{name!r} ({str(first)[:30]!r}, ...)" if first != "" else f"{name!r} (empty)")
        more = f" and {len(self.columns) - 12} more" if len(self.columns) > 12 else ""
        return f"{', '.join(shown) or 'none'}{more}"

    def find_column(self, name: str, argument: str) -> str:
        """Returns the column with a name, exactly or but for case, spaces and hyphens; raises `DataError` if there is none."""
        found = [column for column in self.columns if column == name]
        found = found or [column for column in self.columns if normalize(column) == normalize(name)]
        if len(found) != 1:
            near = closest(name, list(self.columns))
            hint = f" Did you mean {near[0]!r}?" if near and not found else ""
            what = f"there are several columns {name!r}" if found else f"there is no column {name!r}"
            raise DataError(f"{self.name}: {what} ({argument}).{hint} The columns are {self.describe_columns()}.")
        return found[0]


def join_tables(tables: Iterable[Table]) -> Table:
    """Returns the rows of all tables in one, with the columns of the first; those that another table lacks are empty there."""
    tables = list(tables)
    if len(tables) == 1:
        return tables[0]
    columns: dict[str, list[Any]] = {name: [] for name in tables[0].columns}
    parts, row_numbers, origins = list[Part](), list[int](), list[int]()
    for table in tables:
        for name, cells in columns.items():
            cells.extend(table.columns.get(name, [""] * len(table)))
        origins += [len(parts) + origin for origin in table.origins]
        parts += table.parts
        row_numbers += table.numbers
    return Table(tuple(parts), columns, row_numbers, origins, tables[0].has_header)


def make_table(part: Part, columns: Mapping[str, Iterable[Any]], first_row: int = 1) -> Table:
    """Returns a table of any values."""
    cells = {str(name): clean_cells(values) for name, values in columns.items()}
    count = len(next(iter(cells.values()), []))
    return Table((part,), cells, range(first_row, first_row + count), [0] * count)


def clean_cells(values: Iterable[Any]) -> list[Any]:
    """Returns the cells of a column, as `clean_cell` has each."""
    values = list(values)
    if set(map(type, values)) == {str}:
        return list(map(str.strip, values))
    return [clean_cell(value) for value in values]


def clean_cell(value: Any) -> Any:
    """Returns a cell as text, or as a list of texts; integers that are stored as floats without the fraction.

    >>> clean_cell(3.0), clean_cell(0.5), clean_cell(None), clean_cell(["cat", 1])
    ('3', '0.5', '', ['cat', '1'])
    """
    if isinstance(value, str):
        return value.strip()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas' missing values
        return ""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isnan(number):
            return ""
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_cell(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value


def normalize(name: str) -> str:
    """Returns a column's name in lower case, with underscores for spaces and hyphens."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")
