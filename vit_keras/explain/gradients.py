"""Gradients on every backend."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from vit_keras.layers.base.checks import Tensor


def compute_gradients(function: Callable[[list[Tensor]], Tensor], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the gradients of a scalar function with respect to its arguments."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(tensors)
        result = tape.gradient(value, tensors)
    elif backend == "jax":
        import jax

        result = jax.grad(function)([keras.ops.convert_to_tensor(array) for array in arrays])
    else:
        import torch

        tensors = [keras.ops.convert_to_tensor(array).requires_grad_() for array in arrays]
        with torch.enable_grad():
            result = torch.autograd.grad(function(tensors), tensors)
    return [keras.ops.convert_to_numpy(each) for each in result]
