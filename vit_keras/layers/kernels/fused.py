"""Fuses chains of element-wise operations into one kernel on TensorFlow."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor

Function = Callable[..., Tensor]


@functools.cache
def fused(function: Function, gradient: Function | None = None) -> Function:
    """Returns the same function, compiled to one kernel forward and one backward, computing in float32.

    Eager TensorFlow runs operation by operation and keeps most results for the gradient. XLA fuses them, and the gradient
    keeps the arguments only and recomputes the rest. JAX does this by itself and torch has its own kernels, so on those,
    and where TensorFlow was built without XLA, the function itself is returned. For training: `benchmarks/fused.py`.

    The function takes and returns tensors and depends on its arguments only; the result has the first one's dtype. `gradient`, where
    automatic differentiation is slower, takes the same arguments and the gradient of the result, and returns one gradient per argument.
    """
    if not fuses():
        return function
    import tensorflow as tf

    def precise(*arguments: Tensor) -> Tensor:
        result = function(*(ops.cast(argument, "float32") for argument in arguments))
        return ops.cast(result, arguments[0].dtype)

    def gradients(arguments: tuple[Tensor, ...], of_result: Tensor) -> Any:
        if gradient is not None:
            found = gradient(*(ops.cast(each, "float32") for each in (*arguments, of_result)))
            return [ops.cast(each, argument.dtype) for each, argument in zip(found, arguments, strict=True)]
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            result = precise(*arguments)
        return tape.gradient(result, arguments, of_result)

    forward = tf.function(precise, jit_compile=True, autograph=False)
    backward = tf.function(gradients, jit_compile=True, autograph=False)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(*arguments: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        return forward(*arguments), lambda of_result: backward(arguments, of_result)

    return lambda *arguments: run(*(tf.convert_to_tensor(argument) for argument in arguments))  # never a variable


@functools.cache
def fuses() -> bool:
    """Returns whether `fused` makes a difference: on TensorFlow with XLA, which builds for Windows lack."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    with tf.init_scope():
        try:
            tf.function(lambda: tf.constant(1.0) + 1.0, jit_compile=True)()
        except (tf.errors.OpError, ValueError):
            return False
    return True
