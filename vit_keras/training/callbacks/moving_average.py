"""A moving average of a model's weights, kept on the device and moved by one compiled call, on each of Keras' backends."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from vit_keras.layers.base.checks import Tensor


class MovingAverage(Protocol):
    """One average a trainable variable, in float32 at least: a step of 0.001 is lost in bfloat16."""

    variables: list[keras.Variable]

    def move(self, rate: float) -> None:
        """Moves each average by a fraction of what is between it and its weight; the host does not wait for it."""

    def values(self) -> list[Tensor]:
        """Returns a copy of each average, which nothing else shares."""

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        """Puts each average somewhere else."""


def moving_average(model: keras.Model) -> MovingAverage:
    """Returns an average that starts at the weights as they are.

    Args:
        model: Built; what of it is trainable now is averaged.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
        >>> average = moving_average(model)
        >>> model.weights[0].assign([[1.0]]) is None or average.move(0.25)
        >>> ops.convert_to_numpy(average.values()[0]).tolist()
        [[0.25]]
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _OnTensorFlow(model)
    return _OnJax(model) if backend == "jax" else _OnTorch(model)


class _Average:
    """What the backends have in common."""

    def __init__(self, model: keras.Model) -> None:
        self.variables = list(model.trainable_variables)
        self._averages = [self._start(variable) for variable in self.variables]

    def _start(self, variable: keras.Variable) -> Any:
        wide = "float64" if variable.dtype == "float64" else "float32"
        return ops.copy(ops.stop_gradient(ops.cast(variable.value, wide)))

    def values(self) -> list[Tensor]:
        return [ops.copy(average) for average in self._averages]


class _OnTensorFlow(_Average):
    def __init__(self, model: keras.Model) -> None:
        import tensorflow as tf

        self._tensorflow = tf
        super().__init__(model)

        def move(rate: Any) -> None:
            # The graph takes the variables in: a call hands over one number, not hundreds of tensors.
            for average, variable in zip(self._averages, self.variables, strict=True):
                weight = tf.cast(variable.value, average.dtype)
                average.assign_add((weight - average) * tf.cast(rate, average.dtype))

        self._move = tf.function(move, input_signature=[tf.TensorSpec([], "float32")])

    def _start(self, variable: keras.Variable) -> Any:
        return self._tensorflow.Variable(super()._start(variable), trainable=False)

    def move(self, rate: float) -> None:
        self._move(np.float32(rate))

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        for average, array in zip(self._averages, arrays, strict=True):
            average.assign(array)


class _OnJax(_Average):
    def __init__(self, model: keras.Model) -> None:
        import jax

        super().__init__(model)
        self._model = model

        def move(averages: list[Any], weights: list[Any], rate: Any) -> list[Any]:
            return [
                average + (weight.astype(average.dtype) - average) * rate.astype(average.dtype)
                for average, weight in zip(averages, weights, strict=True)
            ]

        self._move = jax.jit(move, donate_argnums=0)  # the averages' own buffers; the weights' are Keras' to give away

    def move(self, rate: float) -> None:
        self._averages = self._move(self._averages, self._weights(), np.float32(rate))

    def _weights(self) -> list[Any]:
        """Returns the weights after the step just done, which `fit` keeps out of the variables.

        A callback's `model` would put them there, with the optimizer's and the metrics', each step.
        """
        state = getattr(self._model, "_jax_state", None)
        if state and not self._model._jax_state_synced:
            return list(state["trainable_variables"])
        return [variable.value for variable in self.variables]

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        # A copy: on a CPU an array of JAX may be the very memory of NumPy's, which must not be given away.
        pairs = zip(self._averages, arrays, strict=True)
        self._averages = [ops.copy(ops.convert_to_tensor(array, dtype=str(average.dtype))) for average, array in pairs]


class _OnTorch(_Average):
    def __init__(self, model: keras.Model) -> None:
        import torch

        self._torch = torch
        super().__init__(model)

    def move(self, rate: float) -> None:
        pairs = zip(self.variables, self._averages, strict=True)
        weights = [variable.value.detach().to(average.dtype) for variable, average in pairs]
        self._torch._foreach_lerp_(self._averages, weights, rate)

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        for average, array in zip(self._averages, arrays, strict=True):
            average.copy_(ops.convert_to_tensor(np.array(array)))
