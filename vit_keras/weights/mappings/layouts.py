"""How other libraries lay out a tensor: conversions of shapes and arrays, in both directions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vit_keras.config import ViTConfig

Array: TypeAlias = npt.NDArray[np.generic]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """A transposition of their axes, then a reshape."""

    rank: int | None  # axes of their tensor; None for any number
    order: tuple[int, ...] | None  # their axes in our order; None for the same
    shape: Callable[[Shape], Shape]  # our shape, from their transposed shape
    their_shape: Callable[[Shape, ViTConfig], Shape]  # their transposed shape, from our shape and the config
    heads_axis: int | None = None  # their axis over attention heads; None without

    def our_shape(self, shape: Shape) -> Shape | None:
        """Returns our shape of their tensor; None where its rank is another."""
        if self.rank is not None and len(shape) != self.rank:
            return None
        return self.shape(shape if self.order is None else tuple(shape[axis] for axis in self.order))

    def to_ours(self, array: Array) -> Array:
        """Returns their tensor in our layout; a view where possible."""
        if self.order is not None:
            array = array.transpose(self.order)
        return array.reshape(self.shape(array.shape))

    def to_theirs(self, array: Array, config: ViTConfig) -> Array:
        """Returns our tensor in their layout."""
        array = array.reshape(self.their_shape(array.shape, config))
        return array if self.order is None else array.transpose(np.argsort(self.order))


@dataclass(frozen=True)
class _ChannelsFirst(Layout):
    """Torch's `Linear` over patches that are flattened in the order channel, y, x; of RGB images."""

    def to_ours(self, array: Array) -> Array:
        width, side = array.shape[0], math.isqrt(array.shape[1] // 3)
        return array.reshape(width, 3, side, side).transpose(2, 3, 1, 0).reshape(-1, width)

    def to_theirs(self, array: Array, config: ViTConfig) -> Array:
        patches = array.reshape(config.patch_size, config.patch_size, config.channels, -1)
        return patches.transpose(3, 2, 0, 1).reshape(array.shape[1], -1)


@dataclass(frozen=True)
class _AfterTwo(Layout):
    """Positions after two rows that no token has, as in fairseq's embeddings."""

    def to_ours(self, array: Array) -> Array:
        return array[None, 2:]

    def to_theirs(self, array: Array, config: ViTConfig) -> Array:
        return np.concatenate([np.zeros_like(array[0, :2]), array[0]])


def _same(shape: Shape) -> Shape:
    return shape


def _same_back(shape: Shape, _: ViTConfig) -> Shape:
    return shape


def _flat_patch(shape: Shape) -> Shape:
    return (shape[0] * shape[1] * shape[2], shape[3])


def _square_patch(shape: Shape, config: ViTConfig) -> Shape:
    return (config.patch_size, config.patch_size, config.channels, shape[1])


def _split_heads(width: int, config: ViTConfig) -> Shape:
    return (config.num_heads, width // config.num_heads)


SAME = Layout(None, None, _same, _same_back)  # as ours
LINEAR = Layout(2, (1, 0), _same, _same_back)  # torch's `Linear`: (out, in)
CHANNELS_FIRST = _ChannelsFirst(2, (1, 0), _same, _same_back)
CONV = Layout(4, (2, 3, 1, 0), _flat_patch, _square_patch)  # torch's `Conv2d` over patches: (out, channels, y, x)
FLAX_CONV = Layout(4, None, _flat_patch, _square_patch)  # Flax's `Conv` over patches: (y, x, channels, out)
# Tokens or positions without our leading axes of size 1, two or one.
VECTOR = Layout(1, None, lambda shape: (1, 1, *shape), lambda shape, _: shape[2:])
TABLE = Layout(2, None, lambda shape: (1, *shape), lambda shape, _: shape[1:])
AFTER_TWO = _AfterTwo(2, None, lambda shape: (1, shape[0] - 2, shape[1]), _same_back)
# Positions of patches on their grid: (1, rows, columns, d).
GRID = Layout(
    4, None, lambda shape: (1, shape[1] * shape[2], shape[3]), lambda shape, config: (1, *config.grid_size, shape[2])
)
# Flax's kernel of queries, keys or values: (in, heads, head_dim).
HEADS_OUT = Layout(
    3, None, lambda shape: (shape[0], shape[1] * shape[2]),
    lambda shape, config: (shape[0], *_split_heads(shape[1], config)), heads_axis=1,
)  # fmt: skip
# Flax's kernel of the attention's output: (heads, head_dim, out).
HEADS_IN = Layout(
    3, None, lambda shape: (shape[0] * shape[1], shape[2]),
    lambda shape, config: (*_split_heads(shape[0], config), shape[1]), heads_axis=0,
)  # fmt: skip
# Flax's bias of queries, keys or values: (heads, head_dim).
HEADS_BIAS = Layout(
    2, None, lambda shape: (shape[0] * shape[1],), lambda shape, config: _split_heads(shape[0], config), heads_axis=0
)
