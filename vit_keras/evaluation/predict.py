"""Classifies images of any size: `vk.predict`."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import keras
import numpy as np

from vit_keras.data import EncodedSplit, Preprocessing, Split
from vit_keras.data.dataset.pipeline import make_batches
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.errors import InvalidArgumentError, VitKerasError
from vit_keras.evaluation.images import ImageInput, list_images
from vit_keras.models.output_kind import find_output_kind
from vit_keras.models.vit import model_num_classes
from vit_keras.zoo.load_model import open_model

ON_ERROR = ("quarantine", "error")
_THRESHOLD = 0.5  # of a multi-label model without its own


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The most probable classes of one image, or the numbers that a regression predicts for it.

    Args:
        image: Its path, or "image 3" for the fourth of all images.
        classes: Class names, the most probable first; empty where the image could not be read.
        probabilities: One per class name.
        labels: Of a multi-label model: the names of all classes that are at least as probable as `threshold`, the most probable first.
        threshold: Of a multi-label model, chosen on validation images when it was trained, or 0.5; else None.
        targets: Of a regression: the names of the numbers.
        values: Of a regression: the numbers, in the units of the training labels.
        error: Why the image could not be read; None for an image that was classified.
    """

    image: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    targets: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}\n  not classified: {self.error}"
        rows = [
            f"  {probability:7.2%}  {name}" for name, probability in zip(self.classes, self.probabilities, strict=True)
        ]
        if self.threshold is not None:
            rows.insert(0, f"  {', '.join(self.labels) or 'no class'} (threshold {self.threshold:.2f})")
        rows += [f"  {value:10.6g}  {name}" for name, value in zip(self.targets, self.values, strict=True)]
        return "\n".join([self.image, *rows])

    def to_dict(self) -> dict[str, Any]:
        """Returns the prediction as plain data: the classes, with the labels of a multi-label model, or the values, or the error."""
        if self.error is not None:
            return {"file": self.image, "error": self.error}
        if self.targets:
            return {"file": self.image, "values": dict(zip(self.targets, self.values, strict=True))}
        pairs = zip(self.classes, self.probabilities, strict=True)
        labels = {} if self.threshold is None else {"labels": list(self.labels), "threshold": self.threshold}
        classes = [{"name": name, "probability": probability} for name, probability in pairs]
        return {"file": self.image, **labels, "classes": classes}


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """One `Prediction` per image, in the order of the images; `print` shows them as a list."""

    rows: tuple[Prediction, ...]

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> "Predictions": ...
    def __getitem__(self, index: int | slice) -> "Prediction | Predictions":
        return Predictions(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))

    __repr__ = __str__

    @property
    def errors(self) -> list[Prediction]:
        """The images that could not be read."""
        return [row for row in self.rows if row.error is not None]

    def to_dataframe(self) -> Any:
        """Returns a pandas DataFrame with a row per image: image, class_1, probability_1, class_2, ..., error.

        A multi-label model adds the column labels, the names joined by "|"; a regression has a column per target in place of classes.
        """
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas, which is not installed: pip install pandas") from error
        top = max((len(row.classes) for row in self.rows), default=0)
        table: dict[str, list[Any]] = {"image": [row.image for row in self.rows]}
        if any(row.threshold is not None for row in self.rows):
            table["labels"] = [None if row.error else "|".join(row.labels) for row in self.rows]
        for place, name in enumerate(next((row.targets for row in self.rows if row.targets), ())):
            table[name] = [row.values[place] if row.values else None for row in self.rows]
        for rank in range(top):
            table[f"class_{rank + 1}"] = [row.classes[rank] if row.classes else None for row in self.rows]
            table[f"probability_{rank + 1}"] = [
                row.probabilities[rank] if row.probabilities else None for row in self.rows
            ]
        return pandas.DataFrame({**table, "error": [row.error for row in self.rows]})


def predict(
    model: keras.Model | str | Path,
    images: Any,
    *,
    top: int = 5,
    preprocessing: Preprocessing | None = None,
    pixel_range: str | tuple[float, float] = "auto",
    batch_size: int = 64,
    on_error: str = "quarantine",
) -> Predictions:
    """Classifies images of any size, or predicts the numbers of a regression; they are decoded, resized and run in batches.

    Args:
        model: A model of this library, or what `vk.load_model` takes: a run directory, a preset directory, a `.keras` file.
        images: A path of a file or folder, a PIL image, an array `([count,] height, width, channels)`, or a list of these.
        top: Number of classes per image.
        preprocessing: How images are resized; None for what was saved with the model, else the model's size.
        pixel_range: Of arrays: the values of black and white, such as (0, 1); "auto" recognizes 0..255 and 0..1.
        batch_size: Images per step.
        on_error: "quarantine" gives an image that can't be read a row with the reason; "error" raises it.

    Raises:
        InvalidArgumentError: An argument is not legal, or the model has no head.
        VitKerasError: The model can't be opened; with `on_error="error"`, an image can't be read.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> print(predict(vit(config, num_classes=2), np.zeros((48, 64, 3), "uint8")))
        image 0
           50.00%  0
           50.00%  1
    """
    if type(top) is not int or top < 1 or type(batch_size) is not int or batch_size < 1:
        raise InvalidArgumentError(
            f"top and batch_size must be at least 1, got top={top!r}, batch_size={batch_size!r}."
        )
    if on_error not in ON_ERROR:
        raise InvalidArgumentError(f"on_error must be one of {', '.join(map(repr, ON_ERROR))}, got {on_error!r}.")
    opened = open_model(model)
    if model_num_classes(opened.model) is None:
        described = f"The model {model.name!r}" if isinstance(model, keras.Model) else f"{model}: this model"
        raise InvalidArgumentError(f"{described} has no head, so it can't classify images.")
    inputs, scale, errors = list_images(images), PixelScale(pixel_range), dict[int, VitKerasError]()
    for index, image in enumerate(inputs):
        if isinstance(image.content, np.ndarray):
            try:
                scale.look("images", image.content[None], image.name)
            except VitKerasError as error:  # NaN or infinite pixels
                errors[index] = error
    scale.decide()
    rule = preprocessing or opened.preprocessing

    def load(index: int) -> np.ndarray | None:
        try:
            return None if index in errors else inputs[index].load(rule, scale)
        except VitKerasError as error:
            errors[index] = error
            return None

    task = opened.task or "single_label"
    outputs = _run(opened.model, inputs, load, rule, batch_size)
    probabilities = to_probabilities(opened.model, outputs, task=task)
    if errors and on_error == "error":
        raise errors[min(errors)]

    def describe(name: str, outputs: np.ndarray) -> Prediction:
        if task == "regression":
            return Prediction(image=name, targets=opened.class_names, values=tuple(outputs.tolist()))
        order = np.argsort(-outputs, kind="stable")
        threshold = None if task == "single_label" else _THRESHOLD if opened.threshold is None else opened.threshold
        return Prediction(
            image=name,
            classes=tuple(opened.class_names[label] for label in order[:top]),
            probabilities=tuple(outputs[order[:top]].tolist()),
            labels=()
            if threshold is None
            else tuple(opened.class_names[label] for label in order if outputs[label] >= threshold),
            threshold=threshold,
        )

    return Predictions(
        tuple(
            Prediction(image=image.name, error=str(errors[index]))
            if index in errors
            else describe(image.name, probabilities[index])
            for index, image in enumerate(inputs)
        )
    )


def _run(
    model: keras.Model,
    inputs: Sequence[ImageInput],
    load: Callable[[int], np.ndarray | None],
    rule: Preprocessing,
    batch_size: int,
) -> np.ndarray:
    """Returns the outputs for all images, `(count, classes)`; those of an image that can't be read mean nothing."""
    count = len(inputs)
    if not count:
        return np.empty((0, model.output_shape[-1]))
    steps = math.ceil(count / batch_size)
    size = math.ceil(count / steps)  # equal batches: one shape is compiled, and little is padded

    def batches() -> Iterator[tuple[np.ndarray]]:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for first in range(0, count, size):
                batch = np.zeros((size, *rule.image_size, rule.channels), "uint8")
                for place, pixels in enumerate(threads.map(load, range(first, min(first + size, count)))):
                    if pixels is not None:
                        batch[place] = pixels
                yield (batch,)

    outputs: np.ndarray = model.predict(batches(), steps=steps, verbose=0)[:count]
    return outputs


def predict_probabilities(
    model: keras.Model, images: np.ndarray | Split | EncodedSplit, *, batch_size: int = 256, task: str = "single_label"
) -> np.ndarray:
    """Returns what `to_probabilities` makes of the outputs for images (pixels 0..255) that have the model's size, `(count, classes)`."""
    if isinstance(images, np.ndarray):
        images = Split(images, np.zeros(len(images), dtype="int32"))
    batches = make_batches(images, batch_size).map(lambda pixels, labels: pixels)
    return to_probabilities(model, model.predict(batches, verbose=0), task=task)


def to_probabilities(model: keras.Model, outputs: np.ndarray, *, task: str = "single_label") -> np.ndarray:
    """Returns a model's outputs as probabilities in float64: the softmax of logits, or the sigmoid for several classes per image.

    Probabilities, and the numbers of a regression, stay as they are.
    """
    outputs = outputs.astype("float64")
    if task == "regression" or find_output_kind(model) == "probabilities":
        return outputs
    if task == "multi_label":
        sigmoid: np.ndarray = np.exp(-np.logaddexp(0, -outputs))
        return sigmoid
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
