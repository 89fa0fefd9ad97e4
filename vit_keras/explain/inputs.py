"""Checks the arguments that the functions of `explain` share: images, and indices of blocks and heads."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.models.pixel_range import find_pixel_problem
from vit_keras.models.vit import model_config


def resolve_indices(wanted: Sequence[int] | int | None, count: int, *, what: str) -> list[int]:
    """Returns indices from 0, those of all blocks or heads for None; negative ones count from the end."""
    indices = range(count) if wanted is None else [wanted] if isinstance(wanted, int | np.integer) else list(wanted)
    if not len(indices):
        raise InvalidArgumentError(f"No {what} was given: expected indices from 0 to {count - 1}, or None for all.")
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, int | np.integer) or not -count <= index < count:
            raise InvalidArgumentError(
                f"There is no {what} {index!r}: the model has {count}, 0 to {count - 1}, or -1 for the last."
            )
    return [int(index) % count for index in indices]


def check_images(model: keras.Model, images: Any) -> np.ndarray:
    """Returns images as an array that the model takes, one image as a batch of one; raises `DataError` for others."""
    config = model_config(model)
    expected = (*config.image_size, config.channels)
    pixels = np.asarray(images)
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.dtype.kind not in "uif" or not len(pixels):
        raise DataError(
            f"images: expected pixels 0..255 of shape (batch, {', '.join(map(str, expected))}), not {pixels.dtype} of shape {pixels.shape}."
        )
    if pixels.shape[1:] != expected:
        raise DataError(
            f"The images are {pixels.shape[1:]} (height, width, channels), but the model takes {expected}: resize them, or make the "
            f"model with image_size={pixels.shape[1:3]}."
        )
    if not np.isfinite(pixels).all():
        raise DataError("The images contain NaN or infinity; expected pixels 0..255.")
    problem = find_pixel_problem(pixels, pixel_std=config.pixel_std)
    if problem is not None:
        raise DataError(f"images: {problem}")
    return pixels


def split_batches(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yields the images in batches, so that memory is bounded."""
    if type(batch_size) is not int or batch_size < 1:
        raise InvalidArgumentError(f"batch_size must be a positive integer, got {batch_size!r}.")
    for first in range(0, len(images), batch_size):
        yield images[first : first + batch_size]
