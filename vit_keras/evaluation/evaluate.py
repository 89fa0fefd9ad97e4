"""Measures a model on labeled images: `vk.evaluate`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from vit_keras.data.class_names import are_numbers
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tasks import format_label, labels_task
from vit_keras.distributed.arguments import Distribution
from vit_keras.distributed.cluster import is_chief
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.errors import InvalidArgumentError, LabelError
from vit_keras.evaluation.labeled_images import (
    LabeledImages,
    check_known,
    find_labeled,
    find_run_options,
    warn_of_trained_images,
)
from vit_keras.evaluation.metrics import Evaluation
from vit_keras.evaluation.multi_label import MultiLabelEvaluation
from vit_keras.evaluation.placed_model import open_on_devices
from vit_keras.evaluation.predict import describe_outputs, to_probabilities
from vit_keras.evaluation.predictions import PredictionColumns, save_predictions
from vit_keras.evaluation.regression import RegressionEvaluation
from vit_keras.evaluation.row_files import check_new_file
from vit_keras.zoo.load_model import OpenModel

AnyEvaluation = Evaluation | MultiLabelEvaluation | RegressionEvaluation
"""The result of `evaluate`, by the task of the labels."""


def evaluate(
    model: keras.Model | str | Path,
    data: Any,
    *,
    split: str | None = None,
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    batch_size: int = 256,
    out: str | Path | None = None,
    devices: int | Literal["auto"] = "auto",
    distribution: Distribution = "data",
) -> AnyEvaluation:
    """Measures a model on labeled images: accuracy, top-5 accuracy, loss and the scores per class.

    Labels of several classes per image give a `MultiLabelEvaluation`, with average precision and F1, and numbers a
    `RegressionEvaluation`, with mean absolute error and R2.

    Images are resized by the model's preprocessing. Classes are matched by name where both sides have names; else labels are the
    indices of the outputs. Files that can't be read are left out, with a warning of the logger `vit_keras`.

    Args:
        model: A model of this library, or what `vk.load_model` takes: a run directory, a preset directory, a `.keras` file.
        data: What `vk.data.load` returns or takes, or a `Split`.
        split: "train", "validation", "test", or "all". By default the test split where the data have one, and of a folder or table
            that a run was trained on the part that was held out; all images of any other folder, table or array. A split that the data
            don't have is drawn as in `vk.data.load`.
        image_dir: As for `vk.data.load`, as the next four are.
        image_column: Name of the column of image files of a table.
        label_column: Name of the column of labels of a table, or several names.
        label_separator: What stands between several class names in a cell.
        contained: Whether files outside `image_dir` or the table's folder are refused.
        batch_size: Images per step.
        out: A table to write, with a row per image: a name that ends in .csv, .jsonl or .parquet; it must not exist.
        devices: As for `vk.predict`, as `distribution` is. In the processes of a launch, each reads its part of the images, and all
            return the same result; the first one writes `out`.
        distribution: "data", "fsdp" or "none".

    Raises:
        StorageError: The table exists, or can't be written.
        InvalidArgumentError: An argument is not legal, the model has no head, or it is for another task than the labels.
        ClassLayoutError: The data have classes that the model lacks.
        LabelError: A label is not an index of the model's outputs.
        ClusterError: The processes of a launch can't work together.
        DataError: The data can't be read.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> images, labels = np.zeros((4, 48, 64, 3), "uint8"), np.array([0, 0, 0, 1])
        >>> evaluate(vit(config, num_classes=2), (images, labels)).accuracy
        0.75
    """
    if split not in (None, *SPLITS, "all"):
        raise InvalidArgumentError(f"split must be one of {', '.join((*SPLITS, 'all'))}, got {split!r}.")
    if out is not None and is_chief():
        check_new_file(Path(out))
    opened, placed = open_on_devices(model, devices=devices, distribution=distribution)
    if not opened.class_names:
        raise InvalidArgumentError(
            "The model has no head, so its accuracy can't be measured; vk.evaluate_features (vit-keras evaluate --features) measures its features."
        )
    options = {
        "image_dir": image_dir,
        "image_column": image_column,
        "label_column": label_column,
        "label_separator": label_separator,
        "contained": contained,
    }
    if split is None:
        warn_of_trained_images(data, model)
    found = find_labeled(data, opened, split=split, options=options, trained=find_run_options(model))
    labels = np.concatenate([each.labels for each in found.splits])
    task = _check_task(labels, opened)
    outputs = np.concatenate(
        [to_probabilities(opened.model, placed.predict_split(each, batch_size), task=task) for each in found.splits]
    )
    evaluation = _score(task, outputs, labels, found, opened)
    with share_errors(together=placed.devices.process[1] > 1):  # after it, the table is there for all
        if out is not None and is_chief():
            _save(Path(out), task, outputs, labels, found, opened)
    return evaluation


def _score(
    task: str, outputs: np.ndarray, labels: np.ndarray, found: LabeledImages, opened: OpenModel
) -> AnyEvaluation:
    if task == "single_label":
        if labels.max() >= len(opened.class_names):
            raise LabelError(
                f"The labels go up to {labels.max()}, but the model has {len(opened.class_names)} classes."
            )
        return Evaluation(outputs, labels, opened.class_names)
    columns = _match_columns(labels.shape[1], found.row_names, opened.class_names)
    outputs, names = outputs[:, columns], tuple(opened.class_names[column] for column in columns)
    if task == "regression":
        return RegressionEvaluation(outputs, labels, names)
    return MultiLabelEvaluation(outputs, labels, names, 0.5 if opened.threshold is None else opened.threshold)


def _save(
    path: Path, task: str, outputs: np.ndarray, labels: np.ndarray, found: LabeledImages, opened: OpenModel
) -> None:
    """Writes a row per image, with its label and all probabilities or numbers."""
    names = found.row_names or opened.class_names
    rows = (
        replace(describe_outputs(name, row, opened, top=None), truth=format_label(label, names))
        for name, row, label in zip(found.image_names(), outputs, labels, strict=True)
    )
    columns = PredictionColumns(
        class_names=() if task == "regression" else opened.class_names,
        targets=opened.class_names if task == "regression" else (),
        has_labels=task == "multi_label",
        has_truth=True,
    )
    save_predictions(path, rows, columns)


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
        check_known(names, known, "The labels")
        return [known.index(name) for name in names]
    if count != len(known):
        raise LabelError(f"The labels have {count} columns, and the model {len(known)} outputs.")
    return list(range(count))
