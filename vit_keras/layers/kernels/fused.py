"""A chain of small operations as one program, where TensorFlow would run each by itself."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor

Function = Callable[..., Tensor]


@functools.cache
def fused(function: Function) -> Function:
    """Returns a function that does the same with one pass over memory forward and one back, and in float32 inside, whatever it is given.

    TensorFlow runs operation by operation, each from memory to memory, and keeps what most of them gave for the gradient. XLA makes one
    loop of all, and here the gradient keeps the arguments alone: what else it needs is computed again on the way. JAX does so by itself
    and torch has kernels of its own, so there, and where TensorFlow was built without XLA, the function itself is returned.

    Of use in training, where TensorFlow has no kernel for the chain: `benchmarks/fused.py`.

    Args:
        function: Takes and returns tensors, and knows them by its arguments alone; what it returns has the first one's dtype.

    Example:
        >>> square_root = fused(ops.sqrt)
        >>> float(square_root(ops.convert_to_tensor(4.0)))
        2.0
    """
    if not fuses():
        return function
    import tensorflow as tf

    def precise(*arguments: Tensor) -> Tensor:
        found = function(*(ops.cast(argument, "float32") for argument in arguments))
        return ops.cast(found, arguments[0].dtype)

    def gradients(arguments: tuple[Tensor, ...], gradient: Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            found = precise(*arguments)
        return tape.gradient(found, arguments, gradient)

    forward = tf.function(precise, jit_compile=True, autograph=False)
    back = tf.function(gradients, jit_compile=True, autograph=False)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(*arguments: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        return forward(*arguments), lambda gradient: back(arguments, gradient)

    return lambda *arguments: run(*(tf.convert_to_tensor(argument) for argument in arguments))  # never a variable


@functools.cache
def fuses() -> bool:
    """Returns whether `fused` makes a difference here: on TensorFlow, but for builds without XLA, such as those for Windows."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    with tf.init_scope():
        try:
            tf.function(lambda: tf.constant(1.0) + 1.0, jit_compile=True)()
        except (tf.errors.OpError, ValueError):
            return False
    return True
