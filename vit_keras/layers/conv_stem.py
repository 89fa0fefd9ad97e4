"""Convolutional stem: turns images into patches by strided convolutions."""

from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import (
    Shape,
    Tensor,
    check_any_images,
    check_divisible,
    check_images,
    check_positive,
)
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.base.grids import count_patches, pad_images


@keras.saving.register_keras_serializable(package="vit_keras")
class ConvStem(CompositeLayer):
    """Learned patches: convolutions of stride 2 halve the image until one cell per patch is left.

    Paper: Xiao et al. 2021, arXiv 2106.14881, section 4: 3x3 convolutions of stride 2, each with batch normalization and
    ReLU; channels double up to `hidden_dim`. The projection that follows is `PatchEncoder`'s. The momentum of the moving
    averages is 0.9, since small data sets give few steps.

    Args:
        patch_size: Side of a patch, px; a power of two.
        hidden_dim: Channels of the last convolution.
        as_grid: As for `Patches`.

    Shapes:
        images: `(batch, height, width, channels)`.
        returns: `(batch, patches, hidden_dim)`, with `as_grid` `(batch, rows, columns, hidden_dim)`.

    Raises:
        InvalidArgumentError: `patch_size` is not a power of two or does not divide the image's sides, or half of it does not
            divide `hidden_dim`.

    Example:
        >>> ConvStem(4, 128)(keras.Input((32, 32, 3))).shape
        (None, 64, 128)
    """

    def __init__(self, patch_size: int, hidden_dim: int, *, as_grid: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, patch_size=patch_size, hidden_dim=hidden_dim)
        if patch_size < 2 or patch_size & (patch_size - 1) or hidden_dim % (patch_size // 2):
            raise InvalidArgumentError(
                f"ConvStem halves the image and doubles its channels: patch_size={patch_size} must be a power of two, and half of "
                f"it must divide hidden_dim={hidden_dim}."
            )
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.as_grid = as_grid
        halvings = patch_size.bit_length() - 1
        widths = [hidden_dim >> (halvings - 1 - index) for index in range(halvings)]
        self.convolutions = [
            keras.layers.Conv2D(
                width, 3, strides=2, padding="same", data_format="channels_last", use_bias=False,
                kernel_initializer="he_normal", dtype=self.dtype_policy, name=f"convolution_{index}",
            )
            for index, width in enumerate(widths)
        ]  # fmt: skip
        self.norms = [
            keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy, name=f"norm_{index}")
            for index in range(halvings)
        ]

    def build_parts(self, input_shape: Shape) -> None:
        """Checks the images' shape and builds the convolutions."""
        if self.as_grid:
            check_any_images(type(self).__name__, input_shape)
        else:
            height, width, _ = check_images(type(self).__name__, input_shape)
            check_divisible(type(self).__name__, height, width, self.patch_size)
        shape = input_shape
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            convolution.build(shape)
            shape = convolution.compute_output_shape(shape)
            norm.build(shape)

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        """Halves the image step by step, then lists its cells row by row."""
        cells = pad_images(images, self.patch_size) if self.as_grid else images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            cells = ops.relu(norm(convolution(cells), training=training))
        if self.as_grid:
            return cells
        return ops.reshape(cells, (-1, *self.compute_output_shape(images.shape)[1:]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, patches, hidden_dim)`."""
        batch, height, width, _ = input_shape
        if self.as_grid:
            return (batch, *count_patches(height, width, self.patch_size), self.hidden_dim)
        return (batch, (height // self.patch_size) * (width // self.patch_size), self.hidden_dim)  # type: ignore[operator]
