"""Rotary position embedding (RoPE) of queries and keys."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_heads

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
        grid_size: Rows and columns of patches.
        temperature: Base of the frequencies, about the ratio of the highest to the lowest.
        order: "yx" gives the first half of the frequencies to the rows, "xy" to the columns.
        reference: Rows and columns that positions are scaled to ("axial"); None for the grid's own.

    Shapes:
        heads: `(batch, tokens, num_heads, head_dim)`, queries or keys.
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

    def build(self, input_shape: Shape) -> None:
        """Computes the angles, or creates the learned frequencies."""
        tokens, num_heads, head_dim = check_heads(type(self).__name__, input_shape)
        positions = self._compute_positions()
        prefix = tokens - len(positions)
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
            bands = self.temperature ** (-np.arange(head_dim // 4) / (head_dim // 4))
            scale = 2 * math.pi if self.kind == "centered" else 1.0
            angles = (positions[:, :, None] * (scale * bands)).reshape(len(positions), 1, -1)
            angles = np.pad(angles, ((prefix, 0), (0, 0), (0, 0)))  # (tokens, 1, head_dim / 2)
            self.cos_sin = np.cos(angles).astype("float32"), np.sin(angles).astype("float32")
        self.built = True

    def _compute_positions(self) -> np.ndarray:
        """Returns the position of each patch along both axes, `(patches, 2)`, in float64."""
        rows, columns = self.grid_size
        y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype("float64")
        if self.kind == "centered":
            y, x = 2 * (y + 0.5) / rows - 1, 2 * (x + 0.5) / columns - 1
        elif self.reference is not None:
            y, x = y / rows * self.reference[0], x / columns * self.reference[1]
        return np.stack([y, x] if self.order == "yx" else [x, y], axis=1)

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

    def call(self, heads: Tensor) -> Tensor:
        """Rotates each pair: (a, b) becomes (a cos - b sin, b cos + a sin)."""
        cos, sin = self._compute_cos_sin()
        wide = ops.cast(heads, "float32")
        if self.kind == "centered":
            first, second = ops.split(wide, 2, axis=-1)
            rotated = ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
        else:
            pairs = ops.reshape(wide, (-1, *heads.shape[1:-1], heads.shape[-1] // 2, 2))
            first, second = pairs[..., 0], pairs[..., 1]
            rotated = ops.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
            rotated = ops.reshape(rotated, (-1, *heads.shape[1:]))
        return ops.cast(rotated, heads.dtype)

    def _compute_cos_sin(self) -> tuple[Tensor, Tensor]:
        if self.kind != "mixed":
            cos, sin = (ops.convert_to_tensor(values) for values in self.cos_sin)
            return cos, sin
        positions, along = ops.convert_to_tensor(self.positions), ops.cast(self.frequencies, "float32")
        angles = positions[:, :1, None] * along[0] + positions[:, 1:, None] * along[1]  # (tokens, heads, head_dim / 2)
        return ops.cos(angles), ops.sin(angles)
