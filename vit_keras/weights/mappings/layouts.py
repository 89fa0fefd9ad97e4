"""How other libraries lay a tensor out, and how it becomes ours: shapes first, numbers later, and the same back."""

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
    """One way to lay a tensor out, as an order of axes and a shape.

    Args:
        rank: Axes of their tensor; None for any.
        order: Their axes in the order in which we read them; None for as they are.
        shape: Our shape, from theirs in that order.
        theirs: Back: their shape in our order of axes, from ours and the config.
        heads_axis: Their axis over attention heads, where they have one.
    """

    rank: int | None
    order: tuple[int, ...] | None
    shape: Callable[[Shape], Shape]
    theirs: Callable[[Shape, ViTConfig], Shape]
    heads_axis: int | None = None

    def our_shape(self, shape: Shape) -> Shape | None:
        """Returns our shape of their tensor, or None where theirs is not laid out so."""
        if self.rank is not None and len(shape) != self.rank:
            return None
        return self.shape(self._ordered(shape))

    def to_ours(self, array: Array) -> Array:
        """Returns their tensor as we lay it out; a view where it can be one."""
        if self.order is not None:
            array = array.transpose(self.order)
        return array.reshape(self.shape(array.shape))

    def to_theirs(self, array: Array, config: ViTConfig) -> Array:
        """Returns our tensor as they lay it out."""
        array = array.reshape(self.theirs(array.shape, config))
        return array if self.order is None else array.transpose(np.argsort(self.order))

    def _ordered(self, shape: Shape) -> Shape:
        return shape if self.order is None else tuple(shape[axis] for axis in self.order)


def _patch(config: ViTConfig) -> Shape:
    return (config.patch_size, config.patch_size, config.channels)


def _heads(width: int, config: ViTConfig) -> Shape:
    return (config.num_heads, width // config.num_heads)


SAME = Layout(None, None, lambda shape: shape, lambda shape, _: shape)
"""As ours."""

LINEAR = Layout(2, (1, 0), lambda shape: shape, lambda shape, _: shape)
"""torch's `Linear`: (out, in)."""

CONV = Layout(
    4, (2, 3, 1, 0), lambda shape: (shape[0] * shape[1] * shape[2], shape[3]),
    lambda shape, config: (*_patch(config), shape[1]),
)  # fmt: skip
"""torch's `Conv2d` over patches: (out, channels, y, x)."""

FLAX_CONV = Layout(
    4, None, lambda shape: (shape[0] * shape[1] * shape[2], shape[3]),
    lambda shape, config: (*_patch(config), shape[1]),
)  # fmt: skip
"""flax' `Conv` over patches: (y, x, channels, out)."""

VECTOR = Layout(1, None, lambda shape: (1, 1, *shape), lambda shape, _: shape[2:])
"""A token without its two sides of 1."""

TABLE = Layout(2, None, lambda shape: (1, *shape), lambda shape, _: shape[1:])
"""Tokens or positions without their first side of 1."""

HEADS_OUT = Layout(
    3, None, lambda shape: (shape[0], shape[1] * shape[2]),
    lambda shape, config: (shape[0], *_heads(shape[1], config)), heads_axis=1,
)  # fmt: skip
"""flax' kernel of queries, keys or values: (in, heads, head_dim)."""

HEADS_IN = Layout(
    3, None, lambda shape: (shape[0] * shape[1], shape[2]),
    lambda shape, config: (*_heads(shape[0], config), shape[1]), heads_axis=0,
)  # fmt: skip
"""flax' kernel of attention's output: (heads, head_dim, out)."""

HEADS_BIAS = Layout(
    2, None, lambda shape: (shape[0] * shape[1],), lambda shape, config: _heads(shape[0], config), heads_axis=0
)
"""flax' bias of queries, keys or values: (heads, head_dim)."""
