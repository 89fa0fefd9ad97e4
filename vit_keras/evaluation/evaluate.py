"""Measures a model on labeled images: `vk.evaluate`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.data import EncodedSplit, ImageData, Split
from vit_keras.data.class_names import are_numbers
from vit_keras.data.loading import load
from vit_keras.data.sources.arrays import is_in_memory
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tasks import labels_task
from vit_keras.errors import ClassLayoutError, InvalidArgumentError, LabelError
from vit_keras.evaluation.metrics import Evaluation
from vit_keras.evaluation.multi_label import MultiLabelEvaluation
from vit_keras.evaluation.predict import predict_probabilities
from vit_keras.evaluation.regression import RegressionEvaluation
from vit_keras.zoo.load_model import OpenModel, open_model

AnyEvaluation = Evaluation | MultiLabelEvaluation | RegressionEvaluation
"""The result of `evaluate`, by the task of the labels."""


def evaluate(
    model: keras.Model | str | Path,
    data: Any,
    *,
    split: str = "test",
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    batch_size: int = 256,
) -> AnyEvaluation:
    """Measures a model on labeled images: accuracy, top-5 accuracy, loss and the scores per class.

    Labels of several classes per image give a `MultiLabelEvaluation`, with average precision and F1, and numbers a
    `RegressionEvaluation`, with mean absolute error and R2.

    Images are resized by the model's preprocessing. Classes are matched by name where both sides have names; else labels are the
    indices of the outputs. Sources without a test split get one as in `vk.data.load`; arrays, data sets in memory and a `Split` are
    used whole.

    Args:
        model: A model of this library, or what `vk.load_model` takes: a run directory, a preset directory, a `.keras` file.
        data: What `vk.data.load` returns or takes, or a `Split`.
        split: "train", "validation", "test", or "all".
        image_dir: As for `vk.data.load`, as the next four are.
        image_column: Name of the column of image files of a table.
        label_column: Name of the column of labels of a table, or several names.
        label_separator: What stands between several class names in a cell.
        contained: Whether files outside `image_dir` or the table's folder are refused.
        batch_size: Images per step.

    Raises:
        InvalidArgumentError: An argument is not legal, the model has no head, or it is for another task than the labels.
        ClassLayoutError: The data have classes that the model lacks.
        LabelError: A label is not an index of the model's outputs.
        DataError: The data can't be read.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> images, labels = np.zeros((4, 48, 64, 3), "uint8"), np.array([0, 0, 0, 1])
        >>> evaluate(vit(config, num_classes=2), (images, labels)).accuracy
        0.75
    """
    if split not in (*SPLITS, "all"):
        raise InvalidArgumentError(f"split must be one of {', '.join((*SPLITS, 'all'))}, got {split!r}.")
    opened = open_model(model)
    if not opened.class_names:
        raise InvalidArgumentError("The model has no head, so its accuracy can't be measured.")
    options = {
        "image_dir": image_dir,
        "image_column": image_column,
        "label_column": label_column,
        "label_separator": label_separator,
        "contained": contained,
    }
    splits, names = _load_splits(data, split, opened, options)
    labels = np.concatenate([each.labels for each in splits])
    task = _check_task(labels, opened)
    outputs = np.concatenate(
        [predict_probabilities(opened.model, each, batch_size=batch_size, task=task) for each in splits]
    )
    if task == "single_label":
        if labels.max() >= len(opened.class_names):
            raise LabelError(
                f"The labels go up to {labels.max()}, but the model has {len(opened.class_names)} classes."
            )
        return Evaluation(outputs, labels, opened.class_names)
    columns = _match_columns(labels.shape[1], names, opened.class_names)
    outputs, names = outputs[:, columns], tuple(opened.class_names[column] for column in columns)
    if task == "regression":
        return RegressionEvaluation(outputs, labels, names)
    return MultiLabelEvaluation(outputs, labels, names, 0.5 if opened.threshold is None else opened.threshold)


def _check_task(labels: np.ndarray, opened: OpenModel) -> str:
    """Returns the task of labels; raises `InvalidArgumentError` where the model is for another."""
    task = labels_task(labels)
    if opened.task not in (None, task):
        raise InvalidArgumentError(
            f"The model is for task={opened.task!r}, and the labels are {task}: load the data with vk.data.load(..., "
            f"task={opened.task!r}), if they are."
        )
    return task


def _match_columns(count: int, names: tuple[str, ...], known: tuple[str, ...]) -> list[int]:
    """Returns the model's output of each column of the labels, by name where both sides have names."""
    if names and not are_numbers(names) and not are_numbers(known):
        _check_known(names, known, "The labels")
        return [known.index(name) for name in names]
    if count != len(known):
        raise LabelError(f"The labels have {count} columns, and the model {len(known)} outputs.")
    return list(range(count))


def _load_splits(
    data: Any, split: str, opened: OpenModel, options: Mapping[str, Any]
) -> tuple[list[Split | EncodedSplit], tuple[str, ...]]:
    """Returns the splits to evaluate, class indices as those of the model's outputs, and the names of labels that are rows."""
    stated = TableOptions(**options).stated
    if stated and isinstance(data, Split | EncodedSplit | ImageData):
        raise InvalidArgumentError(
            f"{', '.join(stated)}: only for tables of image files, and these data are loaded. Leave it out."
        )
    if isinstance(data, Split | EncodedSplit):
        return [data], ()
    chosen = SPLITS if split == "all" else (split,)
    if not isinstance(data, ImageData):
        if is_in_memory(data) and not isinstance(data, Mapping):  # no split is held out
            data, chosen = dict.fromkeys(SPLITS, data), ("test",)
        data = load(data, preprocessing=opened.preprocessing, task=opened.task or "auto", **options)
    rule = opened.preprocessing
    if data.image_shape != (*rule.image_size, rule.channels):
        raise InvalidArgumentError(
            f"The images of {data.name} are {data.image_shape} and the model takes {(*rule.image_size, rule.channels)}: load them with "
            "the model's preprocessing, or pass what vk.data.load takes."
        )
    if data.task != "single_label":
        return [data.splits[name] for name in chosen], data.class_names
    indices = _match_classes(data, opened.class_names)
    return [replace(data.splits[name], labels=indices[data.splits[name].labels]) for name in chosen], ()


def _match_classes(data: ImageData, class_names: tuple[str, ...]) -> np.ndarray:
    """Returns the model's class index of each class of the data."""
    if are_numbers(data.class_names) or are_numbers(class_names):
        return np.arange(len(data.class_names), dtype="int32")
    _check_known(data.class_names, class_names, data.name)
    return np.array([class_names.index(name) for name in data.class_names], dtype="int32")


def _check_known(names: tuple[str, ...], known: tuple[str, ...], source: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ClassLayoutError(f"{source} has classes that the model lacks: {unknown}. The model's are {list(known)}.")
