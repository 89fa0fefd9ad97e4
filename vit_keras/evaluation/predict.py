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


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The most probable classes of one image.

    Args:
        image: Its path, or "image 3" for the fourth of all images.
        classes: Class names, the most probable first; empty where the image could not be read.
        probabilities: One per class name.
        error: Why the image could not be read; None for an image that was classified.
    """

    image: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}\n  not classified: {self.error}"
        rows = (
            f"  {probability:7.2%}  {name}" for name, probability in zip(self.classes, self.probabilities, strict=True)
        )
        return "\n".join([self.image, *rows])


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
        """Returns a pandas DataFrame with a row per image: image, class_1, probability_1, class_2, ..., error."""
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas, which is not installed: pip install pandas") from error
        top = max((len(row.classes) for row in self.rows), default=0)
        table: dict[str, list[Any]] = {"image": [row.image for row in self.rows]}
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
    """Classifies images of any size; they are decoded, resized and classified in batches.

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

    probabilities = _classify(opened.model, inputs, load, rule, batch_size)
    if errors and on_error == "error":
        raise errors[min(errors)]
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return Predictions(
        tuple(
            Prediction(image=image.name, error=str(errors[index]))
            if index in errors
            else Prediction(
                image=image.name,
                classes=tuple(opened.class_names[label] for label in order[index]),
                probabilities=tuple(probabilities[index, order[index]].tolist()),
            )
            for index, image in enumerate(inputs)
        )
    )


def _classify(
    model: keras.Model,
    inputs: Sequence[ImageInput],
    load: Callable[[int], np.ndarray | None],
    rule: Preprocessing,
    batch_size: int,
) -> np.ndarray:
    """Returns the probabilities of all images, `(count, classes)`; those of an image that can't be read mean nothing."""
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

    return to_probabilities(model, model.predict(batches(), steps=steps, verbose=0)[:count])


def predict_probabilities(
    model: keras.Model, images: np.ndarray | Split | EncodedSplit, *, batch_size: int = 256
) -> np.ndarray:
    """Returns the class probabilities, `(count, classes)`, float64, of images (pixels 0..255) that have the model's size."""
    if isinstance(images, np.ndarray):
        images = Split(images, np.zeros(len(images), dtype="int32"))
    batches = make_batches(images, batch_size).map(lambda pixels, labels: pixels)
    return to_probabilities(model, model.predict(batches, verbose=0))


def to_probabilities(model: keras.Model, outputs: np.ndarray) -> np.ndarray:
    """Returns a model's outputs as probabilities in float64: the softmax of logits; probabilities stay as they are."""
    outputs = outputs.astype("float64")
    if find_output_kind(model) == "probabilities":
        return outputs
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
