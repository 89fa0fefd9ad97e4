"""Decodes images in threads and passes them through a model in batches; memory does not grow with the number of images."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakSet

import keras
import numpy as np

from vit_keras.data import Preprocessing
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.errors import InvalidArgumentError, VitKerasError
from vit_keras.evaluation.images import ImageInput

ON_ERROR = ("quarantine", "error")
_FEW = 8  # images, for which a trace takes longer than it saves
_called: WeakSet[keras.Model] = WeakSet()


@dataclass(frozen=True, eq=False)
class Batch:
    """The outputs of a model for some images.

    Args:
        images: The images.
        outputs: `(len(images), ...)`; those of an image that can't be read mean nothing.
        errors: Why an image can't be read; None for those that were.
    """

    images: Sequence[ImageInput]
    outputs: np.ndarray
    errors: list[VitKerasError | None]


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How images become batches.

    Args:
        preprocessing: How images are resized.
        scale: Of arrays: their range, which is known before the first batch.
        batch_size: Maximum number of images per batch.
        on_error: "quarantine" or "error", of an image that can't be read.
    """

    preprocessing: Preprocessing
    scale: PixelScale
    batch_size: int
    on_error: str

    def __post_init__(self) -> None:
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise InvalidArgumentError(f"batch_size must be at least 1, got {self.batch_size!r}.")
        if self.on_error not in ON_ERROR:
            raise InvalidArgumentError(
                f"on_error must be one of {', '.join(map(repr, ON_ERROR))}, got {self.on_error!r}."
            )


def run_batches(model: keras.Model, images: Sequence[ImageInput], options: BatchOptions) -> Iterator[Batch]:
    """Yields the outputs of a model in the order of the images; the next batch is decoded while the model computes.

    With `on_error="error"` the first image that can't be read raises its `VitKerasError`.
    """
    rule, early = options.preprocessing, dict[int, VitKerasError]()
    for index, image in enumerate(images):
        if isinstance(image.content, np.ndarray):
            try:
                options.scale.look("images", image.content[None], image.name)
            except VitKerasError as error:  # NaN or infinite pixels
                early[index] = error
    options.scale.decide()

    def load(index: int) -> np.ndarray | VitKerasError:
        try:
            return early[index] if index in early else images[index].load(rule, options.scale)
        except VitKerasError as error:
            return error

    count = len(images)
    # Equal batches: one shape is compiled, and little is padded.
    size = math.ceil(count / math.ceil(count / options.batch_size)) if count else 0
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def start(first: int) -> list[Future[np.ndarray | VitKerasError]]:
            return [threads.submit(load, index) for index in range(first, min(first + size, count))]

        waiting = start(0)
        for first in range(0, count, size or 1):
            loading, waiting = waiting, start(first + size)
            batch = np.zeros((size, *rule.image_shape), "uint8")
            errors: list[VitKerasError | None] = [None] * len(loading)
            for place, future in enumerate(loading):
                loaded = future.result()
                if isinstance(loaded, VitKerasError):
                    errors[place] = loaded
                else:
                    batch[place] = loaded
            found = next((error for error in errors if error is not None), None)
            if found is not None and options.on_error == "error":
                raise found
            outputs = run_batch(model, batch)[: len(loading)]
            yield Batch(images[first : first + len(loading)], outputs, errors)


def run_batch(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns a model's outputs for images that have its size.

    The first few images of a model are not traced on TensorFlow, where a trace takes longer than they do.
    """
    is_first = model not in _called and model.predict_function is None
    _called.add(model)
    is_local = keras.distribution.distribution() is None
    if is_first and is_local and len(images) <= _FEW and keras.backend.backend() == "tensorflow":
        outputs = keras.ops.convert_to_numpy(model(images, training=False))
    else:
        outputs = model.predict_on_batch(images)
    return np.asarray(outputs)
