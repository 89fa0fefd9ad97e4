"""The task of a data set: what its labels mean, found from the labels or stated."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vit_keras.data.task_names import TASKS, Task
from vit_keras.errors import InvalidArgumentError, LabelError

UNLABELED = "unlabeled"
"""What `ImageData.task` is where the images have no labels: `labels` are zeros, and there are no class names."""

METRICS: dict[str, str] = {"single_label": "accuracy", "multi_label": "mean_average_precision", "regression": "r2"}
"""The metric that training logs first; higher is better."""

_NUMBERS_SHOWN = 4  # targets of a label in a message
_SUM_ERROR = 1e-3  # of rows that are probabilities


def check_task(task: object) -> str:
    """Returns a task or "auto"; raises `InvalidArgumentError` for anything else."""
    if not isinstance(task, str) or task not in ("auto", *TASKS):
        raise InvalidArgumentError(f"task={task!r}: expected one of {', '.join(map(repr, ('auto', *TASKS)))}.")
    return task


def find_task(labels: np.ndarray) -> tuple[Task, tuple[str, ...]]:
    """Returns the task of labels as a user passed them, and a sentence where another task is possible.

    Rows of 0 and 1 are multi-label unless each has a single 1; numbers that are not integers are a regression; everything else is one
    class per image.

    >>> find_task(np.array([[1, 1, 0], [0, 0, 1]]))[0], find_task(np.array([0.5, 1.5]))[0], find_task(np.array([3, 1]))[0]
    ('multi_label', 'regression', 'single_label')
    """
    if labels.dtype.kind not in "buif":
        return "single_label", ()
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not np.isin(labels, (0, 1)).all():
            is_regression = labels.dtype.kind == "f" and not _are_shares(labels) and not _are_integers(labels)
            return ("regression", _say_regression(labels)) if is_regression else ("single_label", ())
        if (labels.sum(axis=1) == 1).all():
            text = "labels with a single 1 per row read as one class per image (task=multi_label for several)"
            return "single_label", (text,)
        text = (
            f"labels of 0 and 1 in {labels.shape[1]} columns read as any number of classes per image (task multi_label)"
        )
        return "multi_label", (text,)
    if labels.ndim in (1, 2) and labels.dtype.kind == "f" and not _are_integers(labels):
        return "regression", _say_regression(labels)
    return "single_label", ()


def _say_regression(labels: np.ndarray) -> tuple[str, ...]:
    count = labels.shape[1] if labels.ndim == 2 else 1
    what = "labels that are not integers" if count == 1 else f"{count} columns of labels that are not integers"
    return (f"{what} read as numbers to predict (task regression)",)


def _are_integers(labels: np.ndarray) -> bool:
    return bool((labels == np.round(labels)).all())


def _are_shares(labels: np.ndarray) -> bool:
    """Whether each row could be probabilities of classes, as smoothed or mixed labels are."""
    return bool((labels >= 0).all() and np.allclose(labels.sum(axis=1), 1, atol=_SUM_ERROR))


def convert_labels(name: str, labels: np.ndarray, task: str, *, num_classes: int | None = None) -> np.ndarray:
    """Returns labels as the task has them; raises `LabelError` where they can't be its labels.

    Args:
        name: Of the split, for messages.
        labels: As a user passed them.
        task: One of `TASKS`.
        num_classes: Where class indices become 0/1 columns: their number.
    """
    if labels.ndim == 2 and labels.shape[1] == 1 and task != "regression":
        labels = labels.reshape(-1)
    if task == "single_label":
        return _to_indices(name, labels)
    if task == "multi_label":
        return _to_columns(name, labels, num_classes)
    return _to_numbers(name, labels)


def _to_indices(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.dtype.kind in "buif":
        if not np.isin(labels, (0, 1)).all() or not (labels.sum(axis=1) == 1).all():
            hint = (
                "; probabilities per class are not supported: pass the most probable class"
                if _are_shares(labels)
                else ""
            )
            raise LabelError(
                f"{name}: labels of shape {labels.shape} must be one-hot, with a single 1 per row{hint}. Rows of 0 and 1 with other "
                "sums are task='multi_label', other numbers task='regression'."
            )
        classes: np.ndarray = labels.argmax(axis=1).astype("int32")
        return classes
    if labels.ndim != 1 or not (labels.dtype.kind in "iub" or (labels.dtype.kind == "f" and _are_integers(labels))):
        example = f", such as {labels.flat[0]!r}" if labels.size else ""
        raise LabelError(
            f"{name}: labels must be integers of at least 0, one per image, or one-hot rows; got {labels.dtype} of shape "
            f"{labels.shape}{example}. Numbers to predict are task='regression'."
        )
    return labels.astype("int32")


def _to_columns(name: str, labels: np.ndarray, num_classes: int | None) -> np.ndarray:
    if labels.ndim == 1 and num_classes is not None and labels.dtype.kind in "ui":
        outside = labels[(labels < 0) | (labels >= num_classes)]
        if outside.size:
            raise LabelError(f"{name}: the label {outside[0]} is not an index of {num_classes} classes.")
        columns: np.ndarray = np.eye(num_classes, dtype="uint8")[labels]
        return columns
    if labels.ndim != 2 or labels.dtype.kind not in "buif":
        raise LabelError(
            f"{name}: multi-label labels must be rows of 0 and 1, one column per class; got {labels.dtype} of shape {labels.shape}."
        )
    wrong = np.argwhere(~np.isin(labels, (0, 1)))
    if wrong.size:
        row, column = wrong[0]
        raise LabelError(
            f"{name}: multi-label labels must be 0 or 1, and image {row} has {labels[row, column]!r} in column {column}."
        )
    return labels.astype("uint8")


def _to_numbers(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "buif":
        raise LabelError(
            f"{name}: labels of a regression must be numbers of shape (images,) or (images, targets); got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    numbers = (labels[:, None] if labels.ndim == 1 else labels).astype("float32")
    wrong = np.argwhere(~np.isfinite(numbers))
    if wrong.size:
        raise LabelError(
            f"{name}: labels of a regression must be finite, and image {wrong[0][0]} has {labels.flat[wrong[0][0]]!r}. Leave it out."
        )
    return numbers


def labels_task(labels: np.ndarray) -> Task:
    """Returns the task whose form labels have, as `Split.labels` holds them."""
    if labels.ndim == 1:
        return "single_label"
    return "regression" if labels.dtype.kind == "f" else "multi_label"


def check_labels(name: str, labels: np.ndarray, task: str, class_names: Sequence[str]) -> None:
    """Raises `LabelError` unless the labels of a split are those of a task with these class or target names."""
    count = len(class_names)
    if task == "single_label":
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise LabelError(
                f"{name}: labels must be integers, one per image; got {labels.dtype} of shape {labels.shape}."
            )
        return
    kind, what = ("f", "float32 numbers") if task == "regression" else ("u", "uint8 0 or 1")
    if labels.ndim != 2 or labels.shape[1] != count or labels.dtype.kind != kind:
        raise LabelError(
            f"{name}: labels of the task {task} must be {what} of shape (images, {count}), a column per name; got {labels.dtype} of "
            f"shape {labels.shape}."
        )
    if task == "multi_label" and labels.max(initial=0) > 1:
        raise LabelError(f"{name}: multi-label labels must be 0 or 1, got {labels.max()}.")
    if task == "regression" and not np.isfinite(labels).all():
        raise LabelError(f"{name}: labels of a regression must be finite; got NaN or infinity.")


def default_names(task: str, count: int) -> tuple[str, ...]:
    """Returns names where a user gave none: class numbers, or "target", "target_1" and so on for a regression.

    >>> default_names("multi_label", 2), default_names("regression", 1), default_names("regression", 2)
    (('0', '1'), ('target',), ('target_1', 'target_2'))
    """
    if task != "regression":
        return tuple(map(str, range(count)))
    return ("target",) if count == 1 else tuple(f"target_{number}" for number in range(1, count + 1))


def describe_count(task: str, count: int) -> str:
    """Returns a number of classes or targets with what they are.

    >>> describe_count("single_label", 3), describe_count("multi_label", 3), describe_count("regression", 1)
    ('3 classes', '3 classes, any number per image', '1 number to predict')
    >>> describe_count("unlabeled", 0)
    'no labels'
    """
    if task == UNLABELED:
        return "no labels"
    if task == "regression":
        return f"{count:,} number{'s' * (count != 1)} to predict"
    return f"{count:,} classes{', any number per image' if task == 'multi_label' else ''}"


def format_label(label: Any, class_names: Sequence[str]) -> str:
    """Returns the label of one image for a reader; nothing without names, of images without labels.

    >>> format_label(np.int32(1), ["cat", "dog"]), format_label(np.array([1, 1], "uint8"), ["cat", "dog"])
    ('dog', 'cat|dog')
    >>> format_label(np.array([2.5], "float32"), ["age"]), format_label(np.array([2.5, 1.0], "float32"), ["age", "weight"])
    ('2.5', 'age=2.5, weight=1')
    """
    if not len(class_names):
        return ""
    if np.ndim(label) == 0:
        return str(class_names[int(label)])
    if np.asarray(label).dtype.kind != "f":
        return "|".join(name for name, has in zip(class_names, label, strict=True) if has)
    numbers = [f"{value:.6g}" for value in label]
    if len(numbers) == 1:
        return numbers[0]
    pairs = [f"{name}={number}" for name, number in zip(class_names, numbers, strict=True)]
    more = ", ..." if len(pairs) > _NUMBERS_SHOWN else ""
    return ", ".join(pairs[:_NUMBERS_SHOWN]) + more


def to_targets(labels: np.ndarray) -> np.ndarray:
    """Returns labels as batches have them: class indices int32, all others float32."""
    return labels.astype("int32" if labels.ndim == 1 else "float32")


def labels_bytes(labels: np.ndarray) -> bytes:
    """Returns the bytes of labels, for a hash."""
    if labels.ndim == 1:
        return labels.astype("int32").tobytes()
    return repr((labels.dtype.kind, labels.shape)).encode() + to_targets(labels).tobytes()
