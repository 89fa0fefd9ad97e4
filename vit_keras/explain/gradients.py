"""Gradients on every backend."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from vit_keras.layers.base.checks import Tensor


def gradients(function: Callable[[list[Tensor]], Tensor], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the gradient of a number by each of some arrays.

    Args:
        function: Takes tensors of the arrays' shapes, returns a scalar.
        arrays: Where the gradient is taken.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(tensors)
        found = tape.gradient(value, tensors)
    elif backend == "jax":
        import jax

        found = jax.grad(function)([keras.ops.convert_to_tensor(array) for array in arrays])
    else:
        import torch

        tensors = [keras.ops.convert_to_tensor(array).requires_grad_() for array in arrays]
        with torch.enable_grad():
            found = torch.autograd.grad(function(tensors), tensors)
    return [keras.ops.convert_to_numpy(each) for each in found]
