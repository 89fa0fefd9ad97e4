"""Measures a model on labeled images: `vk.evaluate`."""

from collections.abc import Mapping
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
from vit_keras.errors import ClassLayoutError, InvalidArgumentError, LabelError
from vit_keras.evaluation.metrics import Evaluation
from vit_keras.evaluation.predict import predict_probabilities
from vit_keras.zoo.load_model import OpenModel, open_model


def evaluate(model: keras.Model | str | Path, data: Any, *, split: str = "test", batch_size: int = 256) -> Evaluation:
    """Measures accuracy, top-5 accuracy, loss and the scores per class.

    Images are resized by the model's preprocessing. Classes are matched by name where both sides have names; else labels are the
    indices of the outputs. Sources without a test split get one as in `vk.data.load`; arrays, data sets in memory and a `Split` are
    used whole.

    Args:
        model: A model of this library, or what `vk.load_model` takes: a run directory, a preset directory, a `.keras` file.
        data: What `vk.data.load` returns or takes, or a `Split`.
        split: "train", "validation", "test", or "all".
        batch_size: Images per step.

    Raises:
        InvalidArgumentError: An argument is not legal, or the model has no head.
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
    splits = _load_splits(data, split, opened)
    probabilities = [predict_probabilities(opened.model, each, batch_size=batch_size) for each in splits]
    labels = np.concatenate([each.labels for each in splits])
    if labels.max() >= len(opened.class_names):
        raise LabelError(f"The labels go up to {labels.max()}, but the model has {len(opened.class_names)} classes.")
    return Evaluation(np.concatenate(probabilities), labels, opened.class_names)


def _load_splits(data: Any, split: str, opened: OpenModel) -> list[Split | EncodedSplit]:
    """Returns the splits to evaluate, their labels as indices of the model's outputs."""
    if isinstance(data, Split | EncodedSplit):
        return [data]
    chosen: tuple[str, ...] = SPLITS if split == "all" else (split,)
    if isinstance(data, ImageData):
        if split == "all":
            chosen = tuple(data.splits)
        elif split not in data.splits:
            raise InvalidArgumentError(
                f'{data.name} has no {split} split: pass split="validation" or "all", or other data.'
            )
    if not isinstance(data, ImageData):
        if is_in_memory(data) and not isinstance(data, Mapping):  # no split is held out
            data, chosen = dict.fromkeys(SPLITS, data), ("test",)
        data = load(data, preprocessing=opened.preprocessing)
    rule = opened.preprocessing
    if data.image_shape != (*rule.image_size, rule.channels):
        raise InvalidArgumentError(
            f"The images of {data.name} are {data.image_shape} and the model takes {(*rule.image_size, rule.channels)}: load them with "
            "the model's preprocessing, or pass what vk.data.load takes."
        )
    indices = _match_classes(data, opened.class_names)
    return [replace(data.splits[name], labels=indices[data.splits[name].labels]) for name in chosen]


def _match_classes(data: ImageData, class_names: tuple[str, ...]) -> np.ndarray:
    """Returns the model's class index of each class of the data."""
    if are_numbers(data.class_names) or are_numbers(class_names):
        return np.arange(len(data.class_names), dtype="int32")
    unknown = [name for name in data.class_names if name not in class_names]
    if unknown:
        raise ClassLayoutError(
            f"{data.name} has classes that the model lacks: {unknown}. The model's are {list(class_names)}."
        )
    return np.array([class_names.index(name) for name in data.class_names], dtype="int32")
