"""Normalizes pixels by mean and standard deviation."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor


@keras.saving.register_keras_serializable(package="vit_keras")
class PixelNormalization(BaseLayer):
    """Pixels 0..255 as `(pixel / 255 - mean) / std`.

    Computed in float32 before the cast to the compute dtype: bfloat16 can't hold the pixels of a resized image.

    Args:
        mean: One fraction, or one per channel.
        std: One fraction, or one per channel.

    Shapes:
        images: `(batch, height, width, channels)`, uint8 or any float dtype, 0..255.
        returns: The same shape in the compute dtype.

    Raises:
        InvalidArgumentError: A `std` is not positive, or the lengths don't fit the channels.

    Example:
        >>> PixelNormalization([0.5], [0.5])(keras.Input((224, 224, 3))).shape
        (None, 224, 224, 3)
    """

    def __init__(self, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not std or min(std) <= 0:
            raise InvalidArgumentError(f"PixelNormalization divides by std={list(std)}, which must be positive.")
        self.mean = list(mean)
        self.std = list(std)
        self.autocast = False

    def build(self, input_shape: Shape) -> None:
        """Checks mean and std against the channels."""
        if {len(self.mean), len(self.std)} - {1, input_shape[-1]}:
            raise InvalidArgumentError(
                f"Images have {input_shape[-1]} channels, but mean={self.mean} and std={self.std}: give one, or one per channel."
            )
        self.built = True

    def call(self, images: Tensor) -> Tensor:
        """Computes one multiplication and one addition per pixel."""
        mean, std = np.array(self.mean), np.array(self.std)
        scale, offset = (ops.array(values, "float32") for values in (1 / (255 * std), -mean / std))
        return ops.cast(ops.cast(images, "float32") * scale + offset, self.compute_dtype)
