"""Fully sharded data parallelism on JAX: each device keeps a part of every large weight, of its gradient and of its optimizer state."""

import math
from collections.abc import Sequence
from typing import Any

import keras

MIN_SHARDED = 2**14
"""Number of elements from which on a weight is sharded: the parts of smaller ones save less memory than their gathering costs time."""

_AXIS = "batch"  # shared by the batch and the weights


class FullySharded(keras.distribution.ModelParallel):
    """Divides every batch and every large weight among all devices.

    A weight of at least `min_size` elements is divided along its largest dimension that the number of devices divides, of equal ones
    the last; any other weight is whole on every device. The state of the optimizer follows its weight. Values are those of a single
    device but for rounding, since the devices add in another order.

    The rule is that of big_vision's `fsdp`, applied to each weight of any model: it needs no table of names.

    Args:
        devices: Names of the devices, of all processes; None for all there are.
        min_size: Number of elements from which on a weight is divided.

    Example:
        >>> FullySharded(["cpu:0"]).find_axes((768, 3072))
        (None, None)
    """

    def __init__(self, devices: Sequence[str] | None = None, *, min_size: int = MIN_SHARDED) -> None:
        names = list(keras.distribution.list_devices() if devices is None else devices)
        mesh = keras.distribution.DeviceMesh((len(names),), [_AXIS], devices=names)
        super().__init__(layout_map=keras.distribution.LayoutMap(mesh), batch_dim_name=_AXIS, auto_shard_dataset=False)
        self.min_size = min_size
        self._count = len(names)

    def find_axes(self, shape: Sequence[int]) -> tuple[str | None, ...]:
        """Returns what divides each dimension of a weight: the name of the mesh's axis, or None."""
        axes: list[str | None] = [None] * len(shape)
        divisible = [(size, place) for place, size in enumerate(shape) if size % self._count == 0]
        if divisible and self._count > 1 and math.prod(shape) >= self.min_size:
            axes[max(divisible)[1]] = _AXIS
        return tuple(axes)

    def get_variable_layout(self, variable: keras.Variable) -> Any:
        """Returns the layout of a variable; Keras calls it when the variable is created."""
        if getattr(variable, "_layout", None) is not None:
            return variable._layout
        return keras.distribution.TensorLayout(self.find_axes(variable.shape), self.device_mesh)

    def get_tensor_layout(self, path: str) -> None:
        """Returns None: layers' outputs stay where the compiler puts them; Keras calls it."""
