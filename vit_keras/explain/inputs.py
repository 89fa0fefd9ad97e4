"""Checks the images that the functions of `explain` take, and splits them into batches."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.models.pixel_range import find_pixel_problem
from vit_keras.models.vit import model_config
from vit_keras.validation import hint_channels


def check_images(model: keras.Model, images: Any, *, any_size: bool = False) -> np.ndarray:
    """Returns images as an array that the model takes, one image as a batch of one; raises `DataError` for others.

    `any_size` allows images of any height and width for a model of `dynamic_image_size`.
    """
    config = model_config(model)
    expected = config.image_shape
    if config.max_num_patches is not None and not any_size:
        raise InvalidArgumentError(
            "Maps of attention need images of one size, and this model packs images of any. A plain model with the same weights and outputs "
            "explains one image: `image = vk.data.unpack_image(packed)`, then `vk.rebuild(model, max_num_patches=None, "
            "image_size=image.shape[:2])`."
        )
    pixels = np.asarray(images)
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.dtype.kind not in "uif" or not len(pixels):
        raise DataError(
            f"images: expected pixels 0..255 of shape (batch, {', '.join(map(str, expected))}), not {pixels.dtype} of shape {pixels.shape}. "
            "Files become such pixels by vk.data.preprocess_images(paths, vk.data.default_preprocessing(vk.model_config(model)))."
        )
    if any_size and config.dynamic_image_size:
        expected = (*pixels.shape[1:3], config.channels)
    if pixels.shape[1:] != expected:
        change = hint_channels(pixels.shape) or f" Resize them, or make the model with image_size={pixels.shape[1:3]}."
        raise DataError(
            f"The images are {pixels.shape[1:]} (height, width, channels), but the model takes {expected}.{change}"
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
