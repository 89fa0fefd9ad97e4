"""Reads the labels of arrays and data sets: the task they are for, and the same form in every split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vit_keras.data.tasks import convert_labels, find_task
from vit_keras.errors import LabelError


def read_labels(name: str, labels: Any) -> np.ndarray:
    """Returns labels as an array `(images, ...)` of the user's dtype; raises `LabelError` for rows of different lengths."""
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
    if task == "regression":
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
