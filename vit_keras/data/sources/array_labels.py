"""Reads the labels of arrays and data sets: the task they are for, and the same form in every split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.split_names import SPLITS
from vit_keras.data.tables.labels import read_labels as read_column
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.table import Part, join_tables, make_table
from vit_keras.data.tasks import convert_labels, find_task
from vit_keras.errors import LabelError

_COLUMN = "labels"
_WHERE = f" in the column {_COLUMN}"


def read_labels(name: str, labels: Any) -> np.ndarray:
    """Returns labels as an array `(images, ...)` of the user's dtype; raises `LabelError` for rows of different lengths."""
    if isinstance(labels, list | tuple) and any(isinstance(each, list | tuple) and _is_text(each) for each in labels):
        rows = np.empty(len(labels), dtype=object)  # several class names per image
        for index, each in enumerate(labels):
            rows[index] = list(each) if isinstance(each, list | tuple) else each
        return rows
    try:
        array = np.asarray(labels)
    except ValueError as error:  # numpy's, for rows of different lengths
        raise LabelError(
            f"{name}: the labels have different lengths. Several classes per image are rows of 0 and 1, one column per class, such as "
            "sklearn.preprocessing.MultiLabelBinarizer makes."
        ) from error
    if array.ndim == 0:
        raise LabelError(f"{name}: expected one label per image, got {array!r}.")
    return array


def unify_labels(
    labels: Mapping[str, np.ndarray], *, task: str, class_names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], str, tuple[str, ...]]:
    """Returns the labels of each split as the task has them, the task, found from all splits if it is "auto", and sentences on it."""
    decisions: tuple[str, ...] = ()
    columns = {name: each.shape[1:] for name, each in labels.items()}
    if task == "auto" and len(set(columns.values())) == 1:
        task, decisions = find_task(np.concatenate(list(labels.values())))
    elif task == "auto":
        task = "single_label"  # such as one-hot rows for training and integers for validation
    num_classes = None
    if task == "multi_label" and all(each.ndim == 1 for each in labels.values()):
        numbers = [each for each in labels.values() if each.dtype.kind in "ui" and each.size]
        num_classes = len(class_names) if class_names else 1 + max((int(each.max()) for each in numbers), default=0)
    converted = {name: convert_labels(name, each, task, num_classes=num_classes) for name, each in labels.items()}
    if task != "single_label" and len({each.shape[1] for each in converted.values()}) > 1:
        raise LabelError(f"The labels of the splits have different numbers of columns: {columns}.")
    if task == "regression" and len(converted) < len(SPLITS):  # all three are given where a model is only evaluated
        _check_varies(converted["train"])
    return converted, task, decisions


def _check_varies(numbers: np.ndarray) -> None:
    for column in range(numbers.shape[1]):
        values = numbers[:, column]
        if len(values) and (values == values[0]).all():
            where = f" of target {column}" if numbers.shape[1] > 1 else ""
            raise LabelError(f"train: all labels{where} are {values[0]:g}, so there is nothing to learn.")


def count_names(labels: Mapping[str, np.ndarray], task: str) -> int:
    """Returns the number of classes, the highest label plus 1, or of targets."""
    if task == "single_label":
        return 1 + max(int(each.max(initial=0)) for each in labels.values())
    return int(labels["train"].shape[1])


def _is_text(labels: list[Any] | tuple[Any, ...]) -> bool:
    return bool(labels) and all(isinstance(each, str) for each in labels)


def are_texts(labels: Mapping[str, np.ndarray]) -> bool:
    """Whether the labels of all splits are class names, and not numbers."""

    def holds_text(array: np.ndarray) -> bool:
        return array.ndim == 1 and (
            array.dtype.kind in "UTS"
            or (array.dtype.kind == "O" and any(isinstance(each, str | bytes | list) for each in array))
        )

    return all(map(holds_text, labels.values()))


def encode_texts(
    labels: Mapping[str, np.ndarray], *, task: str, class_names: tuple[str, ...] | None, separator: str
) -> tuple[dict[str, np.ndarray], str, tuple[str, ...], tuple[str, ...]]:
    """Returns the labels of each split as the task has them, the task, the class names, and sentences on the task.

    Args:
        labels: Class names of each image: a text, with `separator` between several names, or a list of texts.
        task: One of `TASKS`, or "auto".
        class_names: The names in order; by default sorted.
        separator: What stands between several names.

    Raises:
        LabelError: A label is missing, or neither a text nor a list of texts.
        ClassLayoutError: The training images lack a class of the others, or `class_names` are others.
    """
    tables = [
        make_table(Part(name, Path(), name), {_COLUMN: [_decode(label) for label in each.tolist()]}, first_row=0)
        for name, each in labels.items()
    ]
    table = join_tables(tables)
    read = read_column(table, (_COLUMN,), TableOptions(task=task, label_separator=separator))
    for index, fault in read.faults.items():
        raise LabelError(f"{table.describe_row(index).replace('row', 'image')}: {fault.replace(_WHERE, '')}.")
    splits = np.asarray([SPLITS.index(table.parts[origin].split) for origin in table.origins])
    names, encoded = read.encode(splits, class_names, "The labels")
    found = {name: encoded[np.asarray(table.origins) == place] for place, name in enumerate(labels)}
    return found, read.task, names, tuple(text.replace(_WHERE, "") for text in read.decisions)


def _decode(label: Any) -> Any:
    """Returns the text of a label, which TensorFlow has as bytes."""
    if not isinstance(label, bytes):
        return label
    try:
        return label.decode()
    except UnicodeDecodeError as error:
        raise LabelError(f"The label {label!r} is not text in UTF-8.") from error
