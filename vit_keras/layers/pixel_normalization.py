"""Pixels become numbers around zero."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Shape, Tensor


@keras.saving.register_keras_serializable(package="vit_keras")
class PixelNormalization(keras.layers.Layer):
    """Pixels 0..255 as `(pixel / 255 - mean) / std`.

    Computed in float32 before anything is cast to the compute dtype: bfloat16 holds whole numbers to 256, but not the
    pixels of a resized image.

    Args:
        mean: One fraction, or one a channel.
        std: One fraction, or one a channel.

    Shapes:
        images: `(batch, height, width, channels)`, uint8 or any float dtype, 0..255.
        returns: The same shape in the compute dtype.

    Raises:
        InvalidArgumentError: A `std` is not positive, or mean and std fit the channels neither alone nor one each.

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
        """Checks that there is one mean and std, or one a channel."""
        lengths = {len(self.mean), len(self.std)} - {1, input_shape[-1]}
        if lengths:
            raise InvalidArgumentError(
                f"Images have {input_shape[-1]} channels, but mean={self.mean} and std={self.std}: give one, or one a channel."
            )
        self.built = True

    def call(self, images: Tensor) -> Tensor:
        """One multiplication and one addition a pixel."""
        scale = [1 / (255 * std) for std in self.std]
        offset = [-mean / std for mean, std in zip(*self._spread(), strict=True)]
        normalised = ops.cast(images, "float32") * ops.array(scale, "float32") + ops.array(offset, "float32")
        return ops.cast(normalised, self.compute_dtype)

    def _spread(self) -> tuple[list[float], list[float]]:
        count = max(len(self.mean), len(self.std))
        return tuple(values * count if len(values) == 1 else values for values in (self.mean, self.std))  # type: ignore[return-value]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}
