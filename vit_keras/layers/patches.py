"""Cuts images into patches."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor, check_divisible, check_images, check_positive


@keras.saving.register_keras_serializable(package="vit_keras")
class Patches(BaseLayer):
    """Flattened square patches of the images, left to right and top to bottom.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1: x in H x W x C becomes x_p in N x (P * P * C).

    Args:
        patch_size: Side of a patch, px.

    Shapes:
        images: `(batch, height, width, channels)`.
        returns: `(batch, patches, patch_size * patch_size * channels)`; within a patch by row, column, channel.

    Raises:
        InvalidArgumentError: `patch_size` is not positive, or does not divide the image's sides.

    Example:
        >>> Patches(16)(keras.Input((224, 224, 3))).shape
        (None, 196, 768)
    """

    def __init__(self, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, patch_size=patch_size)
        self.patch_size = patch_size

    def build(self, input_shape: Shape) -> None:
        """Checks the images' shape."""
        height, width, _ = check_images(type(self).__name__, input_shape)
        check_divisible(type(self).__name__, height, width, self.patch_size)
        self.built = True

    def call(self, images: Tensor) -> Tensor:
        """Cuts the images."""
        _, height, width, channels = images.shape
        size = self.patch_size
        rows, columns = height // size, width // size
        patches = ops.reshape(images, (-1, rows, size, columns, size, channels))
        patches = ops.transpose(patches, (0, 1, 3, 2, 4, 5))  # (batch, row, column, y, x, channel)
        return ops.reshape(patches, (-1, rows * columns, size * size * channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, patches, patch_dim)`."""
        batch, height, width, channels = input_shape
        size = self.patch_size
        return (batch, (height // size) * (width // size), size * size * channels)  # type: ignore[operator]
