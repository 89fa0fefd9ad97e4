"""Cuts images into patches."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor, check_any_images, check_divisible, check_images, check_positive
from vit_keras.layers.base.grids import count_patches, pad_images


@keras.saving.register_keras_serializable(package="vit_keras")
class Patches(BaseLayer):
    """Flattened square patches of the images, left to right and top to bottom.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1: x in H x W x C becomes x_p in N x (P * P * C).

    Args:
        patch_size: Side of a patch, px.
        as_grid: Takes images of any size, known only when they arrive, pads them at the bottom and right with zeros to a multiple of
            `patch_size`, and keeps rows and columns.

    Shapes:
        images: `(batch, height, width, channels)`.
        returns: `(batch, patches, patch_size * patch_size * channels)`; within a patch by row, column, channel. With `as_grid`
            `(batch, rows, columns, patch_size * patch_size * channels)`.

    Raises:
        InvalidArgumentError: `patch_size` is not positive, or does not divide the image's sides.

    Example:
        >>> Patches(16)(keras.Input((224, 224, 3))).shape
        (None, 196, 768)
    """

    def __init__(self, patch_size: int, *, as_grid: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, patch_size=patch_size)
        self.patch_size = patch_size
        self.as_grid = as_grid

    def build(self, input_shape: Shape) -> None:
        """Checks the images' shape."""
        if self.as_grid:
            check_any_images(type(self).__name__, input_shape)
        else:
            height, width, _ = check_images(type(self).__name__, input_shape)
            check_divisible(type(self).__name__, height, width, self.patch_size)
        self.built = True

    def call(self, images: Tensor) -> Tensor:
        """Cuts the images."""
        size = self.patch_size
        if self.as_grid:
            images = pad_images(images, size)
        _, height, width, channels = ops.shape(images) if self.as_grid else images.shape
        rows, columns = height // size, width // size
        patches = ops.reshape(images, (-1, rows, size, columns, size, channels))
        patches = ops.transpose(patches, (0, 1, 3, 2, 4, 5))  # (batch, row, column, y, x, channel)
        places = (rows, columns) if self.as_grid else (rows * columns,)
        return ops.reshape(patches, (-1, *places, size * size * channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, patches, patch_dim)`."""
        batch, height, width, channels = input_shape
        size = self.patch_size
        patch_dim = size * size * channels  # type: ignore[operator]
        if self.as_grid:
            return (batch, *count_patches(height, width, size), patch_dim)
        return (batch, (height // size) * (width // size), patch_dim)  # type: ignore[operator]
