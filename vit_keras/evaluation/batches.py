"""Decodes images in threads and passes them through a model in batches; memory does not grow with the number of images."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from vit_keras import errors as known_errors
from vit_keras.data import Preprocessing
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.distributed.cluster import gather, process_count
from vit_keras.errors import DataError, InvalidArgumentError, VitKerasError
from vit_keras.evaluation.images import ImageInput
from vit_keras.evaluation.placed_model import PlacedModel

ON_ERROR = ("quarantine", "error")


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


def run_batches(placed: PlacedModel, images: Sequence[ImageInput], options: BatchOptions) -> Iterator[Batch]:
    """Yields the outputs of a model in the order of the images; the next batch is decoded while the model computes.

    Of several processes, each decodes its rows of a batch, and gets the outputs of all; they call it together.

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
    size = placed.fit_size(math.ceil(count / math.ceil(count / options.batch_size))) if count else 0
    rows = placed.rows(size)
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def start(first: int) -> list[Future[np.ndarray | VitKerasError]]:
            last = min(first + rows.stop, count)
            return [threads.submit(load, index) for index in range(first + rows.start, last)]

        waiting = start(0)
        for first in range(0, count, size or 1):
            loading, waiting = waiting, start(first + size)
            batch = np.zeros((len(rows), *rule.image_shape), "uint8")
            failed: dict[int, VitKerasError] = {}
            for place, future in enumerate(loading):
                loaded = future.result()
                if isinstance(loaded, VitKerasError):
                    failed[rows.start + place] = loaded
                else:
                    batch[place] = loaded
            failed = _gather_errors(failed)
            if failed and options.on_error == "error":
                raise failed[min(failed)]
            chosen = images[first : first + size]
            outputs = placed.predict_rows(batch)[: len(chosen)]
            yield Batch(chosen, outputs, [failed.get(place) for place in range(len(chosen))])


def _gather_errors(failed: dict[int, VitKerasError]) -> dict[int, VitKerasError]:
    """Returns the errors of all processes by row."""
    if process_count() == 1:
        return failed
    told = gather([[row, type(error).__name__, str(error)] for row, error in failed.items()])
    return {row: getattr(known_errors, kind, DataError)(text) for each in told for row, kind, text in each}
