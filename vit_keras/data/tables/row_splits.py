"""The split of each row of a table: by its file, a column, or the folders in the paths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vit_keras.data.split_names import SPLITS, describe_splits, parse_split
from vit_keras.data.tables.columns import LABEL_WORDS, SPLIT_WORDS, are_numeric
from vit_keras.data.tables.table import Table, normalize
from vit_keras.errors import DataError
from vit_keras.validation import list_words


@dataclass(frozen=True)
class RowSplits:
    """What each row says about its split (all empty: no splits), and the split of each value as stated by the user, if it was."""

    values: list[str]
    stated: Mapping[str, str] | None
    column: str | None = None
    decisions: tuple[str, ...] = ()

    def parse(self, value: str) -> str | None:
        """Returns the split that a value stands for, or None."""
        return parse_split(value) if self.stated is None else self.stated.get(value)

    def number(self) -> np.ndarray:
        """Returns the index of each row's split in `SPLITS`, `(rows,)`, int8; -1 for none."""
        numbers = {value: SPLITS.index(self.parse(value) or "") if value else -1 for value in set(self.values)}
        return np.fromiter(map(numbers.__getitem__, self.values), "int8", len(self.values))

    @property
    def is_complete(self) -> bool:
        """Whether every row has a split, some "train" and some another."""
        splits = {self.parse(value) for value in set(self.values)}
        return None not in splits and "train" in splits and len(splits) > 1

    def describe(self, what: str) -> "RowSplits":
        """Returns the splits with a sentence about where they were found."""
        found = {value: split for value in dict.fromkeys(self.values) if (split := self.parse(value))}
        return replace(self, decisions=describe_splits(found, what) or (f"{what} read as splits",))


def find_row_splits(
    table: Table, stated: Mapping[str, str] | None, *, image_column: str, label_columns: Iterable[str] = ()
) -> RowSplits:
    """Returns the split of each row: of its part of the table, else by a column's name, its values, or the folders in the paths.

    Raises:
        DataError: Two columns contain different splits.
    """
    if any(part.split for part in table.parts):
        return RowSplits([table.parts[origin].split for origin in table.origins], None)
    no_splits = RowSplits([""] * len(table), stated)
    if stated is not None and not stated:
        return no_splits
    columns = {
        name: RowSplits([_as_text(cell) for cell in cells], stated, name)
        for name, cells in table.columns.items()
        if name not in (image_column, *label_columns) and normalize(name) not in LABEL_WORDS
    }
    by_word = {normalize(name): found for name, found in columns.items()}
    if "split" in by_word:
        return by_word["split"]
    named = {word: found for word, found in by_word.items() if word in SPLIT_WORDS}
    complete = {name: found for name, found in (named or columns).items() if found.is_complete}
    if len({tuple(map(found.parse, found.values)) for found in complete.values()}) > 1:
        raise DataError(
            f"{table.name}: the columns {list_words(complete)} contain different splits; name the right one split."
        )
    for found in complete.values():
        return found.describe(f"cells of the column {found.column}")
    for found in named.values():
        if are_numeric(found.values):  # folds of a cross-validation
            text = (
                f"the numbers in the column {found.column} are not read as splits; ReadOptions(splits=...) states which are",
            )
            return replace(no_splits, decisions=text)
        return found  # not recognized: an error names each of its rows
    return _find_folder_splits(table, image_column, stated) or no_splits


def _find_folder_splits(table: Table, column: str, stated: Mapping[str, str] | None) -> RowSplits | None:
    cells = table.columns[column]
    distinct = set(table.count_folders(column))
    if sum(table.count_folders(column).values()) < len(cells):  # cells that are no paths
        distinct.add("")
    parts = {folder: folder.removeprefix("./").split("/") if folder not in ("", ".") else [] for folder in distinct}
    for level in range(min(map(len, parts.values()), default=0)):
        if RowSplits([each[level] for each in parts.values()], stated).is_complete:
            found = RowSplits([parts[_as_text(cell).rpartition("/")[0]][level] for cell in cells], stated)
            return found.describe("folders in the paths")
    return None


def _as_text(cell: Any) -> str:
    return cell if isinstance(cell, str) else ""
