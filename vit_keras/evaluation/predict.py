"""Classifies images of any size: `vk.predict`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from vit_keras.data import EncodedSplit, Preprocessing, Split
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.distributed.arguments import Distribution
from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.batches import BatchOptions, run_batches
from vit_keras.evaluation.images import ImageInput, list_images
from vit_keras.evaluation.placed_model import PlacedModel, open_on_devices, run_batch
from vit_keras.evaluation.predictions import Prediction, PredictionColumns, Predictions
from vit_keras.models.output_kind import find_output_kind
from vit_keras.models.vit import model_num_classes
from vit_keras.presets.label_sets import names_by_synset
from vit_keras.zoo.load_model import OpenModel

_THRESHOLD = 0.5  # of a multi-label model without its own


def predict(
    model: keras.Model | str | Path,
    images: Any,
    *,
    top: int | None = 5,
    preprocessing: Preprocessing | None = None,
    pixel_range: str | tuple[float, float] = "auto",
    batch_size: int = 64,
    on_error: str = "quarantine",
    devices: int | Literal["auto"] = "auto",
    distribution: Distribution = "data",
) -> Predictions:
    """Classifies images of any size, or predicts the numbers of a regression; they are decoded, resized and run in batches.

    Args:
        model: A model of this library, or what `vk.load_model` takes: a run directory, a preset's `NAME:TAG`, a preset directory, a
            `.keras` file.
        images: A path, a PIL image, an array `([count,] height, width, channels)`, or a list of these. A path is that of a file, a
            folder, a pattern such as `photos/**/*.jpg`, or a list of paths (CSV, TSV or text file).
        top: Number of classes per image; None for all.
        preprocessing: How images are resized; None for what was saved with the model, else the model's size.
        pixel_range: Of arrays: the values of black and white, such as (0, 1); "auto" recognizes 0..255 and 0..1.
        batch_size: Images per step.
        on_error: "quarantine" gives an image that can't be read a row with the reason; "error" raises it.
        devices: "auto" for all devices, which share each batch, or a number of them. A `keras.Model` stays where it is unless it is a
            number. In the processes of a launch, each decodes its part of the images, and all return all rows.
        distribution: "data", "fsdp" or "none", as for `vk.train`.

    Raises:
        InvalidArgumentError: An argument is not legal, or the model has no head.
        ClusterError: The processes of a launch can't work together.
        VitKerasError: The model can't be opened; with `on_error="error"`, an image can't be read.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> print(predict(vit(config, num_classes=2), np.zeros((48, 64, 3), "uint8")))
        image 0
           50.00%  0
           50.00%  1
    """
    stream = stream_predictions(
        model,
        images,
        top=top,
        preprocessing=preprocessing,
        pixel_range=pixel_range,
        batch_size=batch_size,
        on_error=on_error,
        devices=devices,
        distribution=distribution,
    )
    return Predictions(tuple(stream))


@dataclass(frozen=True, eq=False, kw_only=True)
class PredictionStream:
    """Images that are classified while they are iterated over; `len` is their number."""

    opened: OpenModel
    placed: PlacedModel
    images: list[ImageInput]
    top: int | None
    options: BatchOptions

    def __len__(self) -> int:
        return len(self.images)

    @property
    def task(self) -> str:
        """What the outputs of the model mean."""
        return self.opened.task or "single_label"

    @property
    def columns(self) -> PredictionColumns:
        """The columns of a table of the predictions."""
        names = self.opened.class_names
        if self.task == "regression":
            return PredictionColumns(targets=names)
        known = self._known_labels()
        has_truth = any(self._find_truth(image, known) is not None for image in self.images)
        return PredictionColumns(
            ranks=0 if self.top is None else min(self.top, len(names)),
            class_names=names if self.top is None else (),
            has_labels=self.task == "multi_label",
            has_truth=has_truth,
        )

    def __iter__(self) -> Iterator[Prediction]:
        known = self._known_labels()
        for batch in run_batches(self.placed, self.images, self.options):
            outputs = to_probabilities(self.opened.model, batch.outputs, task=self.task)
            for image, values, error in zip(batch.images, outputs, batch.errors, strict=True):
                truth = self._find_truth(image, known)
                if error is not None:
                    yield Prediction(image=image.name, error=str(error), truth=truth)
                else:
                    yield replace(describe_outputs(image.name, values, self.opened, top=self.top), truth=truth)

    def _known_labels(self) -> dict[str, str]:
        """Returns the class by each label that names it: its name, or the WordNet id of a class of ImageNet."""
        names = self.opened.class_names
        return {**names_by_synset(names), **dict(zip(names, names, strict=True))}

    def _find_truth(self, image: ImageInput, known: Mapping[str, str]) -> str | None:
        label = image.find_label(known) if self.task == "single_label" else None
        return None if label is None else known[label]


def describe_outputs(name: str, outputs: np.ndarray, opened: OpenModel, *, top: int | None) -> Prediction:
    """Returns the prediction of one image, given what `to_probabilities` makes of the outputs, `(classes,)`."""
    names, task = opened.class_names, opened.task
    if task == "regression":
        return Prediction(image=name, targets=names, values=tuple(outputs.tolist()))
    order = np.argsort(-outputs, kind="stable")
    threshold, labels = None, tuple[str, ...]()
    if task == "multi_label":
        threshold = _THRESHOLD if opened.threshold is None else opened.threshold
        labels = tuple(names[index] for index in order if outputs[index] >= threshold)
    return Prediction(
        image=name,
        classes=tuple(names[index] for index in order[:top]),
        probabilities=tuple(outputs[order[:top]].tolist()),
        labels=labels,
        threshold=threshold,
    )


def stream_predictions(
    model: keras.Model | str | Path,
    images: Any,
    *,
    top: int | None = 5,
    preprocessing: Preprocessing | None = None,
    pixel_range: str | tuple[float, float] = "auto",
    batch_size: int = 64,
    on_error: str = "quarantine",
    devices: int | Literal["auto"] = "auto",
    distribution: Distribution = "data",
) -> PredictionStream:
    """Returns what `predict` returns, one image after the other: memory does not grow with the number of images."""
    if (top is not None and (type(top) is not int or top < 1)) or type(batch_size) is not int or batch_size < 1:
        raise InvalidArgumentError(
            f"top and batch_size must be at least 1, got top={top!r}, batch_size={batch_size!r}."
        )
    scale = PixelScale(pixel_range)
    opened, placed = open_on_devices(model, devices=devices, distribution=distribution)
    check_head(opened.model, f"The model {model.name!r}" if isinstance(model, keras.Model) else f"{model}: this model")
    options = BatchOptions(
        preprocessing=preprocessing or opened.preprocessing, scale=scale, batch_size=batch_size, on_error=on_error
    )
    return PredictionStream(opened=opened, placed=placed, images=list_images(images), top=top, options=options)


def check_head(model: keras.Model, described: str) -> None:
    """Raises `InvalidArgumentError` for a model without a head; `described` is what the message calls it."""
    if model_num_classes(model) is None:
        raise InvalidArgumentError(f"{described} has no head, so it can't classify images.")


def predict_probabilities(
    model: keras.Model, images: np.ndarray | Split | EncodedSplit, *, batch_size: int = 256, task: str = "single_label"
) -> np.ndarray:
    """Returns what `to_probabilities` makes of the outputs for images (pixels 0..255) that have the model's size, `(count, classes)`."""
    if isinstance(images, np.ndarray) and 0 < len(images) <= batch_size:
        return to_probabilities(model, run_batch(model, images), task=task)
    if isinstance(images, np.ndarray):
        images = Split(images, np.zeros(len(images), dtype="int32"))
    return to_probabilities(model, PlacedModel(model=model).predict_split(images, batch_size), task=task)


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
