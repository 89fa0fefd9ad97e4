"""Rotary position embedding (RoPE) of queries and keys."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_grid, check_heads
from vit_keras.layers.base.grids import count_tokens, grid_indices

_KINDS = ("axial", "mixed", "centered")


@keras.saving.register_keras_serializable(package="vit_keras")
class RotaryEmbedding(BaseLayer):
    """Queries or keys with each pair of channels rotated by an angle proportional to the patch's row or column.

    Attention scores then depend on the distance between patches. Prefix tokens are not rotated. Angles are computed and
    applied in float32.

    Papers: "axial", Fang et al. 2023, arXiv 2303.11331: adjacent channels are pairs; half of the frequencies belong to the
    rows, half to the columns. "mixed", Heo et al. 2024, arXiv 2403.13298: each head learns its frequencies along both axes.
    "centered", DINOv3, Simeoni et al. 2025, arXiv 2508.10104: positions run from -1 to 1 at every image size, and a head's
    first half is paired with its second.

    Args:
        kind: "axial", "mixed" or "centered".
        grid_size: Rows and columns of patches, where `call` gets no `patch_indices`.
        temperature: Base of the frequencies, about the ratio of the highest to the lowest.
        order: "yx" gives the first half of the frequencies to the rows, "xy" to the columns.
        reference: Rows and columns that positions are scaled to ("axial"); None for the grid's own.
        offset: Added to rows and columns, in patches, before they are scaled ("axial").

    Shapes:
        heads: `(batch, tokens, num_heads, head_dim)`, queries or keys.
        patch_indices: `(tokens, 2)`, as `PatchIndices` returns them, for a grid of any size.
        returns: The same.

    Raises:
        InvalidArgumentError: An argument is out of its range, `head_dim` is not divisible by 4, or there are fewer tokens
            than patches.

    Example:
        >>> RotaryEmbedding("axial", grid_size=(14, 14))(keras.Input((197, 3, 64))).shape
        (None, 197, 3, 64)
    """

    def __init__(
        self,
        kind: str,
        *,
        grid_size: tuple[int, int],
        temperature: float = 100.0,
        order: str = "yx",
        reference: tuple[int, int] | None = None,
        offset: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice(type(self).__name__, choices=_KINDS, kind=kind)
        check_choice(type(self).__name__, choices=("yx", "xy"), order=order)
        self.kind = kind
        self.grid_size = tuple(grid_size)
        self.temperature = temperature
        self.order = order
        self.reference = tuple(reference) if reference is not None else None
        self.offset = offset

    def build(self, input_shape: Shape) -> None:
        """Computes the angles, or creates the learned frequencies."""
        tokens, num_heads, head_dim = check_heads(type(self).__name__, input_shape)
        positions = self._compute_positions()
        prefix = 0 if tokens is None else tokens - len(positions)
        if head_dim % 4 or prefix < 0:
            raise InvalidArgumentError(
                f"RotaryEmbedding got {tokens} tokens and a head_dim of {head_dim}: it needs at least the {len(positions)} patches of "
                f"grid_size={self.grid_size}, and a head_dim divisible by 4."
            )
        self.positions = np.pad(positions, ((prefix, 0), (0, 0))).astype("float32")  # prefix tokens have an angle of 0
        if self.kind == "mixed":
            shape = (2, num_heads, head_dim // 2)
            self.frequencies = self.add_weight(shape=shape, initializer=self._random_directions, name="frequencies")
        else:
            scale = 2 * math.pi if self.kind == "centered" else 1.0
            self.bands = scale * self.temperature ** (-np.arange(head_dim // 4) / (head_dim // 4))
            angles = (positions[:, :, None] * self.bands).reshape(len(positions), 1, -1)
            angles = np.pad(angles, ((prefix, 0), (0, 0), (0, 0)))  # (tokens, 1, head_dim / 2)
            self.cos_sin = np.cos(angles).astype("float32"), np.sin(angles).astype("float32")
        self.has_known_tokens = tokens is not None
        self.built = True

    def _compute_positions(self) -> np.ndarray:
        """Returns the position of each patch along both axes, `(patches, 2)`, in float64."""
        rows, columns = self.grid_size
        y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype("float64")
        return np.stack(self._place(y, x, rows, columns), axis=1)

    def _place(self, y: Tensor, x: Tensor, rows: Any, columns: Any) -> tuple[Tensor, Tensor]:
        """Returns positions along the first and the second axis, for rows `y` and columns `x`."""
        if self.kind == "centered":
            y, x = 2 * (y + 0.5) / rows - 1, 2 * (x + 0.5) / columns - 1
        elif self.kind == "axial":
            y, x = y + self.offset, x + self.offset
            if self.reference is not None:
                y, x = y / rows * self.reference[0], x / columns * self.reference[1]
        return (y, x) if self.order == "yx" else (x, y)

    def _random_directions(self, shape: Shape, dtype: str | None = None) -> Tensor:
        """Initializes each head's frequencies along two random perpendicular directions."""
        _, num_heads, half = shape
        bands = ops.cast(self.temperature ** (-np.arange(half // 2) / (half // 2)), dtype)  # type: ignore[operator]
        angles = keras.random.uniform((num_heads, 1), maxval=2 * math.pi, dtype=dtype)
        along = [
            ops.concatenate([bands * axis(angles), bands * axis(angles + math.pi / 2)], -1)
            for axis in (ops.cos, ops.sin)
        ]
        return ops.stack(along)

    def call(self, heads: Tensor, patch_indices: Tensor | None = None) -> Tensor:
        """Rotates each pair: (a, b) becomes (a cos - b sin, b cos + a sin)."""
        _, tokens, num_heads, head_dim = ops.shape(heads)
        if patch_indices is None and not self.has_known_tokens:
            prefix = tokens - math.prod(self.grid_size)
            patch_indices = grid_indices(*self.grid_size, num_prefix_tokens=prefix)
        cos, sin = self._compute_cos_sin() if patch_indices is None else self._compute_cos_sin_at(patch_indices)
        wide = ops.cast(heads, "float32")
        if self.kind == "centered":
            first, second = ops.split(wide, 2, axis=-1)
            rotated = ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
        else:
            pairs = ops.reshape(wide, (-1, tokens, num_heads, head_dim // 2, 2))
            first, second = pairs[..., 0], pairs[..., 1]
            rotated = ops.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
            rotated = ops.reshape(rotated, (-1, tokens, num_heads, head_dim))
        return ops.cast(rotated, heads.dtype)

    def _compute_cos_sin(self) -> tuple[Tensor, Tensor]:
        if self.kind != "mixed":
            cos, sin = (ops.convert_to_tensor(values) for values in self.cos_sin)
            return cos, sin
        return self._compute_cos_sin_of(ops.convert_to_tensor(self.positions))

    def _compute_cos_sin_at(self, patch_indices: Tensor) -> tuple[Tensor, Tensor]:
        y, x = ops.unstack(ops.cast(patch_indices, "float32"), 2, axis=1)
        positions = ops.stack(
            self._place(y, x, y[-1] + 1, x[-1] + 1), axis=1
        )  # the last patch is in the last row and column
        return self._compute_cos_sin_of(
            ops.where(patch_indices < 0, 0.0, positions)
        )  # prefix tokens have an angle of 0

    def _compute_cos_sin_of(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Returns cosine and sine of the angles at positions `(tokens, 2)`, `(tokens, heads or 1, head_dim / 2)`."""
        if self.kind == "mixed":
            along = ops.cast(self.frequencies, "float32")
            angles = positions[:, :1, None] * along[0] + positions[:, 1:, None] * along[1]
        else:
            angles = positions[:, :, None] * ops.convert_to_tensor(self.bands, "float32")
            angles = ops.reshape(angles, (-1, 1, 2 * len(self.bands)))
        return ops.cos(angles), ops.sin(angles)


@keras.saving.register_keras_serializable(package="vit_keras")
class PatchIndices(BaseLayer):
    """The row and column of each token, for rotary embeddings of images of any size.

    Args:
        num_prefix_tokens: Tokens before the patch tokens.

    Shapes:
        patches: `(batch, rows, columns, patch_dim)`.
        returns: `(tokens, 2)`, int32; -1 for prefix tokens.

    Example:
        >>> PatchIndices(num_prefix_tokens=1)(keras.Input((2, 3, 64))).shape
        (7, 2)
    """

    def __init__(self, *, num_prefix_tokens: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_prefix_tokens = num_prefix_tokens

    def build(self, input_shape: Shape) -> None:
        """Checks the shape of the patches."""
        check_grid(type(self).__name__, input_shape)
        self.built = True

    def call(self, patches: Tensor) -> Tensor:
        """Counts rows and columns."""
        _, rows, columns, _ = ops.shape(patches)
        return grid_indices(rows, columns, num_prefix_tokens=self.num_prefix_tokens)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(tokens, 2)`."""
        return (count_tokens(input_shape, self.num_prefix_tokens), 2)

    def compute_output_spec(self, patches: keras.KerasTensor) -> keras.KerasTensor:
        """Returns shape and dtype of the output, integers under every dtype policy, which a cast to half precision leaves alone."""
        return keras.KerasTensor(self.compute_output_shape(patches.shape), dtype="int32")
