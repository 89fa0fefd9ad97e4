"""Cuts images into patches, reads packed ones, and puts their tokens back on the grid."""

import math
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import (
    Shape,
    Tensor,
    check_any_images,
    check_choice,
    check_divisible,
    check_grid,
    check_images,
    check_packed,
    check_positive,
    check_tokens,
)
from vit_keras.layers.base.grids import INDEX_OF_PADDING, count_patches, pad_images, prefix_indices
from vit_keras.packed_sizes import NUM_INDICES, PADDING


@keras.saving.register_keras_serializable(package="vit_keras")
class Patches(BaseLayer):
    """Flattened square patches of the images, left to right and top to bottom.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1: x in H x W x C becomes x_p in N x (P * P * C).

    Args:
        patch_size: Side of a patch, px.
        as_grid: Takes images of any size, known only when they arrive, pads them at the bottom and right with zeros to a multiple of
            `patch_size`, and keeps rows and columns.
        partial_patches: "crop" leaves out the pixels at the bottom and right that fill no patch, as a convolution whose stride is
            its size does, with `as_grid`, too; "refuse" takes only multiples of `patch_size`, or pads.

    Shapes:
        images: `(batch, height, width, channels)`.
        returns: `(batch, patches, patch_size * patch_size * channels)`; within a patch by row, column, channel. With `as_grid`
            `(batch, rows, columns, patch_size * patch_size * channels)`.

    Raises:
        InvalidArgumentError: `patch_size` is not positive, or does not divide the image's sides, or is larger.

    Example:
        >>> Patches(16)(keras.Input((224, 224, 3))).shape
        (None, 196, 768)
    """

    def __init__(
        self, patch_size: int, *, as_grid: bool = False, partial_patches: str = "refuse", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, patch_size=patch_size)
        check_choice(type(self).__name__, choices=("refuse", "crop"), partial_patches=partial_patches)
        self.patch_size = patch_size
        self.as_grid = as_grid
        self.partial_patches = partial_patches

    def build(self, input_shape: Shape) -> None:
        """Checks the images' shape."""
        if self.as_grid:
            check_any_images(type(self).__name__, input_shape)
        else:
            height, width, _ = check_images(type(self).__name__, input_shape)
            is_cropped = self.partial_patches == "crop" and min(height, width) >= self.patch_size
            if not is_cropped:
                check_divisible(type(self).__name__, height, width, self.patch_size)
        self.built = True

    def call(self, images: Tensor) -> Tensor:
        """Cuts the images."""
        size = self.patch_size
        if self.as_grid and self.partial_patches == "refuse":
            images = pad_images(images, size)
        _, height, width, channels = ops.shape(images) if self.as_grid else images.shape
        rows, columns = height // size, width // size
        if self.partial_patches == "crop":
            images = images[:, : rows * size, : columns * size]
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
            is_cropped = self.partial_patches == "crop"
            return (batch, *count_patches(height, width, size, is_cropped=is_cropped), patch_dim)
        return (batch, (height // size) * (width // size), patch_dim)  # type: ignore[operator]


@keras.saving.register_keras_serializable(package="vit_keras")
class PackedPatches(BaseLayer):
    """Flattened patches of packed images of any aspect ratio, without their indices; as those of `Patches`.

    Shapes:
        packed: `(batch, patches, 2 + patch_size * patch_size, channels)`, as `vit_keras.packing` describes.
        returns: `(batch, patches, patch_size * patch_size * channels)`.

    Raises:
        InvalidArgumentError: The shape is not that of packed images.

    Example:
        >>> PackedPatches()(keras.Input((256, 258, 3))).shape
        (None, 256, 768)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build(self, input_shape: Shape) -> None:
        """Checks the shape of the packed images."""
        check_packed(type(self).__name__, input_shape)
        self.built = True

    def call(self, packed: Tensor) -> Tensor:
        """Leaves out the indices."""
        _, patches, entries, channels = packed.shape
        return ops.reshape(packed[:, :, NUM_INDICES:], (-1, patches, (entries - NUM_INDICES) * channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, patches, patch_dim)`."""
        batch, patches, entries, channels = input_shape
        return (batch, patches, (entries - NUM_INDICES) * channels)  # type: ignore[operator]


@keras.saving.register_keras_serializable(package="vit_keras")
class PackedIndices(BaseLayer):
    """The row and column of each token of packed images: what tells positions, and patches from padding.

    Args:
        num_prefix_tokens: Tokens before the patch tokens.

    Shapes:
        packed: `(batch, patches, 2 + patch_size * patch_size, channels)`, as `vit_keras.packing` describes.
        returns: `(batch, tokens, 2)`, int32; -1 for prefix tokens, -2 for padding.

    Raises:
        InvalidArgumentError: The shape is not that of packed images.

    Example:
        >>> PackedIndices(num_prefix_tokens=1)(keras.Input((256, 258, 3))).shape
        (None, 257, 2)
    """

    def __init__(self, *, num_prefix_tokens: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_prefix_tokens = num_prefix_tokens
        self.autocast = False

    def build(self, input_shape: Shape) -> None:
        """Checks the shape of the packed images."""
        check_packed(type(self).__name__, input_shape)
        self.built = True

    def call(self, packed: Tensor) -> Tensor:
        """Reads the indices."""
        indices = ops.cast(packed[:, :, :NUM_INDICES, 0], "int32")
        indices = ops.where(indices == PADDING, INDEX_OF_PADDING, indices)
        prefix = prefix_indices(self.num_prefix_tokens)
        prefix = ops.broadcast_to(prefix[None], (ops.shape(indices)[0], *prefix.shape))
        return ops.concatenate([prefix, indices], axis=1) if self.num_prefix_tokens else indices

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, tokens, 2)`."""
        return (input_shape[0], input_shape[1] + self.num_prefix_tokens, 2)  # type: ignore[operator]

    def compute_output_spec(self, packed: keras.KerasTensor) -> keras.KerasTensor:
        """Returns shape and dtype of the output, integers under every dtype policy, which a cast to half precision leaves alone."""
        return keras.KerasTensor(self.compute_output_shape(packed.shape), dtype="int32")


@keras.saving.register_keras_serializable(package="vit_keras")
class PatchGrid(BaseLayer):
    """Patch tokens as a feature map, without the prefix tokens.

    Args:
        num_prefix_tokens: Tokens before the patch tokens.
        grid_size: Rows and columns of patches; None for those of `patches`.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        patches: `(batch, rows, columns, patch_dim)`, for images of any size; only without `grid_size`.
        returns: `(batch, rows, columns, hidden_dim)`.

    Example:
        >>> PatchGrid(num_prefix_tokens=1, grid_size=(14, 14))(keras.Input((197, 64))).shape
        (None, 14, 14, 64)
    """

    def __init__(self, *, num_prefix_tokens: int = 0, grid_size: tuple[int, int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_prefix_tokens = num_prefix_tokens
        self.grid_size = tuple(grid_size) if grid_size is not None else None

    def build(self, tokens_shape: Shape, patches_shape: Shape | None = None) -> None:
        """Checks the shapes."""
        tokens, _ = check_tokens(type(self).__name__, tokens_shape)
        if patches_shape is not None:
            check_grid(type(self).__name__, patches_shape)
        if (self.grid_size is None) == (patches_shape is None):
            raise InvalidArgumentError(
                "PatchGrid needs either grid_size or patches, the grid that the tokens were made of."
            )
        if self.grid_size is not None and tokens not in (None, math.prod(self.grid_size) + self.num_prefix_tokens):
            raise InvalidArgumentError(
                f"PatchGrid got {tokens} tokens: {self.num_prefix_tokens} prefix tokens and a grid of {self.grid_size} patches are "
                f"{math.prod(self.grid_size) + self.num_prefix_tokens}."
            )
        self.built = True

    def call(self, tokens: Tensor, patches: Tensor | None = None) -> Tensor:
        """Leaves out prefix tokens and restores rows and columns."""
        rows, columns = self.grid_size or ops.shape(patches)[1:3]
        return ops.reshape(tokens[:, self.num_prefix_tokens :], (-1, rows, columns, tokens.shape[-1]))

    def compute_output_shape(self, tokens_shape: Shape, patches_shape: Shape | None = None) -> Shape:
        """Returns `(batch, rows, columns, hidden_dim)`."""
        rows, columns = self.grid_size or (patches_shape or (None,) * 4)[1:3]
        return (tokens_shape[0], rows, columns, tokens_shape[-1])
