"""A moving average of a model's weights on the device, updated by one compiled call per step."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.layers.base.checks import Tensor


class MovingAverage:
    """One average per trainable variable, at least float32: bfloat16 would lose an update of 0.001."""

    def __init__(self, model: keras.Model) -> None:
        self.variables: list[keras.Variable] = list(model.trainable_variables)
        self._averages = [self._copy(variable) for variable in self.variables]

    def _copy(self, variable: keras.Variable) -> Any:
        dtype = "float64" if variable.dtype == "float64" else "float32"
        return ops.copy(ops.stop_gradient(ops.cast(variable.value, dtype)))

    def move(self, rate: float) -> None:
        """Moves each average towards its weight by this fraction of the difference; the host does not wait."""
        raise NotImplementedError

    def values(self) -> list[Tensor]:
        """Returns a copy of each average."""
        return [ops.copy(average) for average in self._averages]

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        """Sets each average."""
        raise NotImplementedError


def start_average(model: keras.Model) -> MovingAverage:
    """Returns an average of the trainable weights that starts at their current values."""
    return {"tensorflow": _OnTensorFlow, "jax": _OnJax, "torch": _OnTorch}[keras.backend.backend()](model)


class _OnTensorFlow(MovingAverage):
    def __init__(self, model: keras.Model) -> None:
        import tensorflow as tf

        super().__init__(model)

        def move(rate: Any) -> None:
            # The graph captures the variables, so a call passes one number, not hundreds of tensors.
            for average, variable in zip(self._averages, self.variables, strict=True):
                weight = tf.cast(variable.value, average.dtype)
                average.assign_add((weight - average) * tf.cast(rate, average.dtype))

        self._move = tf.function(move, input_signature=[tf.TensorSpec([], "float32")])

    def _copy(self, variable: keras.Variable) -> Any:
        import tensorflow as tf

        return tf.Variable(super()._copy(variable), trainable=False)

    def move(self, rate: float) -> None:
        self._move(np.float32(rate))

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        for average, array in zip(self._averages, arrays, strict=True):
            average.assign(array)


class _OnJax(MovingAverage):
    def __init__(self, model: keras.Model) -> None:
        import jax

        super().__init__(model)
        self._model = model

        def move(averages: list[Any], weights: list[Any], rate: Any) -> list[Any]:
            return [
                average + (weight.astype(average.dtype) - average) * rate.astype(average.dtype)
                for average, weight in zip(averages, weights, strict=True)
            ]

        self._move = jax.jit(move, donate_argnums=0)  # the averages' buffers; Keras donates those of the weights

    def move(self, rate: float) -> None:
        self._averages = self._move(self._averages, self._weights(), np.float32(rate))

    def _weights(self) -> list[Any]:
        """Returns the weights after the last step, which `fit` keeps outside the variables.

        Reading a callback's `model` would copy them there each step, with the optimizer's and the metrics' variables.
        """
        state = getattr(self._model, "_jax_state", None)
        if state and not self._model._jax_state_synced:
            return list(state["trainable_variables"])
        return [variable.value for variable in self.variables]

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        import jax

        # Copies, since on a CPU a JAX array may share NumPy's memory, which must not be donated.
        pairs = zip(self._averages, arrays, strict=True)
        self._averages = [
            ops.copy(jax.device_put(np.asarray(array, average.dtype), average.sharding)) for average, array in pairs
        ]


class _OnTorch(MovingAverage):
    def move(self, rate: float) -> None:
        import torch

        pairs = zip(self.variables, self._averages, strict=True)
        weights = [variable.value.detach().to(average.dtype) for variable, average in pairs]
        torch._foreach_lerp_(self._averages, weights, rate)

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        for average, array in zip(self._averages, arrays, strict=True):
            average.copy_(ops.convert_to_tensor(np.array(array)))
