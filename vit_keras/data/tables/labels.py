"""The labels of the rows of a table: one class, several classes, or numbers."""

import contextlib
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vit_keras.data.class_names import order_classes
from vit_keras.data.tables.columns import CLASS_WORDS, are_indicators, are_numeric, parse_indicator, parse_number
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.table import Table, normalize
from vit_keras.data.tasks import UNLABELED
from vit_keras.errors import ClassLayoutError, DataError
from vit_keras.validation import list_words

_FEW = 10  # distinct integers that are classes
_ENOUGH = 20  # rows from which on texts that hardly repeat are no classes
_HOW_TO_DECIDE = "task=... (--task) decides otherwise"


@dataclass(frozen=True, eq=False)
class RowLabels:
    """What each row is labeled with.

    Args:
        task: "single_label", "multi_label", "regression" or "unlabeled".
        known: What rows are labeled with: class names, one or several, or the targets of a regression.
        codes: `(rows,)`, the index into `known` of each row.
        columns: Names of the classes or targets, where each has a column.
        faults: Why the labels of a row can't be used, by its index.
        decisions: Sentences on how the labels were understood.
    """

    task: str
    known: list[list[Any]]
    codes: np.ndarray
    columns: tuple[str, ...] = ()
    faults: dict[int, str] = field(default_factory=dict)
    decisions: tuple[str, ...] = ()

    def encode(
        self, splits: np.ndarray, class_names: tuple[str, ...] | None, source: str
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Returns the names of classes or targets in order, and the labels as `Listing` has them.

        Raises:
            ClassLayoutError: A class has no training images, names differ only in case, or `class_names` are others.
        """
        if self.task == UNLABELED:
            return (), np.zeros(len(self.codes), dtype="int32")
        if self.task == "regression":
            names = self.columns if class_names is None else order_classes(self.columns, class_names, source)
            targets = np.asarray(self.known, dtype="float32").reshape(len(self.known), len(self.columns))
            return names, targets[self.codes][:, [self.columns.index(name) for name in names]]
        names = self._order_classes(splits, class_names, source)
        places = {name: place for place, name in enumerate(names)}
        if self.task == "single_label":
            return names, np.asarray([places[row[0]] for row in self.known], dtype="int32")[self.codes]
        labels = np.zeros((len(self.known), len(names)), dtype="uint8")
        for index, row in enumerate(self.known):
            labels[index, [places[name] for name in row]] = 1
        return names, labels[self.codes]

    def _order_classes(self, splits: np.ndarray, given: tuple[str, ...] | None, source: str) -> tuple[str, ...]:
        known, everywhere = set(self.columns if self.task == "multi_label" else ()), set[str]()
        everywhere.update(*(self.known[code] for code in np.unique(self.codes).tolist()))
        known.update(*(self.known[code] for code in np.unique(self.codes[splits <= 0]).tolist()))
        unknown = sorted(everywhere - known)
        if unknown:
            raise ClassLayoutError(
                f"{source}: no training image has the labels {list_words(unknown)} of validation or test images."
            )
        names = order_classes(known, given, source)
        if len(names) < (2 if self.task == "single_label" else 1):
            raise ClassLayoutError(f"{source}: at least two classes are needed, found {list_words(names)}.")
        if len({name.casefold() for name in names}) < len(names):
            raise ClassLayoutError(f"{source}: some labels differ only in case: {list_words(names)}.")
        return names


def no_labels(count: int) -> RowLabels:
    """Returns what stands for the labels of rows without labels."""
    return RowLabels(UNLABELED, [[]], np.zeros(count, "int64"))


def read_labels(table: Table, columns: tuple[str, ...], options: TableOptions) -> RowLabels:
    """Returns the labels of every row: of a column of labels or numbers, or of a column of 0 and 1 per class.

    Args:
        table: The table.
        columns: The columns of labels.
        options: The task, and what separates several labels in a cell.

    Raises:
        DataError: The columns hold no labels.
    """
    if len(columns) > 1:
        return _read_several_columns(table, columns, options.task)
    (column,) = columns
    cells, separator = table.columns[column], options.label_separator
    task, decisions = _find_task(column, cells, options)
    if task == "regression":
        return _read_numbers(table, columns, decisions)
    if task == "single_label":
        if not options.label_columns and normalize(column) not in CLASS_WORDS:
            _check_repeats(table, column)
        return _read_rows(cells, task, _read_class(_plain_integers(cells)), decisions)
    labels = _read_rows(cells, task, lambda cell: _split_cell(cell, separator), decisions)
    empty = int(np.asarray([not row for row in labels.known], bool)[labels.codes].sum())
    if empty:
        text = f"{empty:,} of {len(cells):,} images have no label in the column {column}, which reads as none of the classes"
        labels = RowLabels(task, labels.known, labels.codes, decisions=(*decisions, text))
    return labels


def _find_task(column: str, cells: list[Any], options: TableOptions) -> tuple[str, tuple[str, ...]]:
    if options.task != "auto":
        return options.task, ()
    separator = options.label_separator
    different = list(dict.fromkeys(cells)) if _are_texts(cells) else cells
    lists = any(isinstance(cell, list) and len(cell) != 1 for cell in different)
    if lists or any(isinstance(cell, str) and separator in cell for cell in different):
        how = "lists" if lists else f"labels separated by {separator!r}"
        return "multi_label", (f"{how} in the column {column} read as several classes per image; {_HOW_TO_DECIDE}",)
    if not are_numeric(different):
        return "single_label", ()
    distinct = {parse_number(cell) for cell in different} - {None}
    are_integers = all(number.is_integer() for number in distinct if number is not None)
    if are_integers and (len(distinct) <= _FEW or normalize(column) in CLASS_WORDS):
        return "single_label", (f"integers in the column {column} read as {len(distinct)} classes; {_HOW_TO_DECIDE}",)
    text = f"numbers in the column {column} read as the target of a regression; {_HOW_TO_DECIDE}"
    return "regression", (text,)


def _read_several_columns(table: Table, columns: tuple[str, ...], task: str) -> RowLabels:
    columns_of_cells = [table.columns[name] for name in columns]
    shown = f"{', '.join(columns[:5])}{', ...' if len(columns) > 5 else ''}"
    text = [
        name
        for name, cells in zip(columns, columns_of_cells, strict=True)
        if not are_numeric(cells) and not are_indicators(cells)
    ]
    if text:
        raise DataError(
            f"{table.name}: label_column names several columns, which must hold numbers, and {list_words(text)} do not. Several columns are the "
            "targets of a regression, or one class each, as 0 and 1; labels in words stand in one column."
        )
    decisions: tuple[str, ...] = ()
    if task == "auto":
        if not all(map(are_indicators, columns_of_cells)):
            decision = f"numbers in the columns {shown} read as the targets of a regression; {_HOW_TO_DECIDE}"
            return _read_numbers(table, columns, (decision,))
        sums = [sum(map(parse_indicator, row)) for row in zip(*columns_of_cells, strict=True)]  # type: ignore[arg-type]
        task = "single_label" if set(sums) == {1} else "multi_label"
        what = "the class of the image" if task == "single_label" else "several classes per image"
        decisions = (f"0 and 1 in the columns {shown} read as {what}; {_HOW_TO_DECIDE}",)
    if task == "regression":
        return _read_numbers(table, columns, decisions)

    def read(row: tuple[Any, ...]) -> list[str]:
        chosen = []
        for name, cell in zip(columns, row, strict=True):
            indicator = parse_indicator(cell)
            if indicator is None:
                raise ValueError(f"{cell!r} in the column {name} is neither 0 nor 1")
            if indicator:
                chosen.append(unicodedata.normalize("NFC", name))
        if task == "single_label" and len(chosen) != 1:
            raise ValueError(f"{len(chosen)} of the columns are 1, and with task='single_label' one must be")
        return chosen

    labels = _read_rows(list(zip(*columns_of_cells, strict=True)), task, read, decisions)
    names = tuple(unicodedata.normalize("NFC", name) for name in columns)
    return RowLabels(task, labels.known, labels.codes, names, labels.faults, decisions)


def _read_numbers(table: Table, columns: tuple[str, ...], decisions: tuple[str, ...]) -> RowLabels:
    def read(row: tuple[Any, ...]) -> list[float]:
        numbers = []
        for name, cell in zip(columns, row, strict=True):
            number = parse_number(cell)
            if number is None:
                raise ValueError(
                    f"{cell!r} in the column {name} is not a number" if cell else f"no number in the column {name}"
                )
            numbers.append(number)
        return numbers

    rows = list(zip(*(table.columns[name] for name in columns), strict=True))
    labels = _read_rows(rows, "regression", read, decisions)
    names = tuple(unicodedata.normalize("NFC", name) for name in columns)
    return RowLabels("regression", labels.known, labels.codes, names, labels.faults, decisions)


def _read_rows(
    cells: Iterable[Any], task: str, read: Callable[[Any], list[Any]], decisions: tuple[str, ...]
) -> RowLabels:
    """Returns what `read` makes of each cell; its ValueErrors are the faults."""
    values: list[Any] = []
    faults = {}
    cells = list(cells)
    if _are_texts(cells):  # each distinct text is read once
        with contextlib.suppress(ValueError):
            places = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
            codes = np.fromiter(map(places.__getitem__, cells), "int64", len(cells))
            return RowLabels(task, list(map(read, places)), codes, (), {}, decisions)
    for index, cell in enumerate(cells):
        try:
            values.append(read(cell))
        except ValueError as error:
            values.append([])
            faults[index] = str(error)
    return RowLabels(task, values, np.arange(len(values)), (), faults, decisions)


def _read_class(plain_integers: bool) -> Callable[[Any], list[str]]:
    def read(cell: Any) -> list[str]:
        labels = [cell] if isinstance(cell, str) else _split_cell(cell, "")
        if len(labels) > 1:
            raise ValueError(f"{len(labels)} labels, and with task='single_label' there must be one")
        if not labels or not labels[0]:
            raise ValueError("no label")
        name = str(int(float(labels[0]))) if plain_integers else labels[0]
        return [unicodedata.normalize("NFC", name)]

    return read


def _plain_integers(cells: list[Any]) -> bool:
    """Whether the classes are integers that are written with a fraction, such as 3.0."""
    numbers = {
        cell: parse_number(cell) for cell in (set(cells) if _are_texts(cells) else cells) if isinstance(cell, str)
    }
    return any("." in cell for cell in numbers) and all(
        number is not None and number.is_integer() for number in numbers.values()
    )


def _are_texts(cells: list[Any]) -> bool:
    return set(map(type, cells)) == {str}


def _split_cell(cell: Any, separator: str) -> list[str]:
    """Returns the labels in a cell, each once."""
    if isinstance(cell, str):
        cell = cell.split(separator) if separator.strip() else cell.split()
    elif not isinstance(cell, list) or not all(isinstance(each, str) for each in cell):
        raise ValueError(f"{type(cell).__name__} instead of a label")
    labels = (unicodedata.normalize("NFC", each.strip()) for each in cell)
    return list(dict.fromkeys(label for label in labels if label))


def _check_repeats(table: Table, column: str) -> None:
    """Raises `DataError` where most texts in a column occur once: captions or identifiers are no classes."""
    cells = table.columns[column]
    distinct = len({str(cell) for cell in cells})
    if len(cells) >= _ENOUGH and distinct > len(cells) / 2:
        raise DataError(
            f"{table.name}: the column {column!r} has {distinct:,} different values in {len(cells):,} rows, which are hardly classes. "
            f"State the column of labels with label_column (--label-column); the columns are {table.describe_columns()}."
        )
