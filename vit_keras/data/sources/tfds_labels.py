"""Reads the labels of TensorFlow Datasets: the task that a label feature is for, its names, and the label of an example."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_keras.data.tasks import UNLABELED, default_names


@dataclass(frozen=True)
class LabelFeature:
    """What a label feature says of its labels."""

    task: str
    names: tuple[str, ...]  # of the classes, or of the numbers

    def stack(self, labels: Iterable[Any]) -> np.ndarray:
        """Returns the labels of examples as the task has them."""
        if self.task == UNLABELED:
            return np.zeros(len(list(labels)), "int32")
        if self.task == "single_label":
            return np.asarray([int(label) for label in labels], dtype="int32")
        if self.task == "regression":
            return np.asarray([np.asarray(label) for label in labels], dtype="float32").reshape(-1, len(self.names))
        given = [np.asarray(label, "int64").reshape(-1) for label in labels]
        rows = np.zeros((len(given), len(self.names)), "uint8")
        for row, classes in zip(rows, given, strict=True):
            row[classes] = 1
        return rows


def read_label_feature(feature: Any) -> LabelFeature | None:
    """Returns what a label feature says; None for a feature that is no label.

    A `ClassLabel` is one class per image, a sequence of these any number of classes, and floating point numbers are a regression.
    """
    names = getattr(
        getattr(feature, "feature", None), "names", None
    )  # first, since a sequence passes on the names of its classes
    if names is not None:
        return LabelFeature("multi_label", tuple(names))
    if hasattr(feature, "names"):
        return LabelFeature("single_label", tuple(feature.names))
    shape, dtype = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
    if not isinstance(shape, tuple) or len(shape) > 1 or None in shape or np.dtype(dtype).kind != "f":
        return None
    return LabelFeature("regression", default_names("regression", shape[0] if shape else 1))
