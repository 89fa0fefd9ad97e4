"""An activation and the projection after it, whose gradient keeps what the activation is given alone, for training on TensorFlow."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.kernels.fused import fused
from vit_keras.layers.kernels.projection import compute_weight_gradients, multiply


def project_activated(layer: keras.layers.Layer, activate: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """Returns `layer(activate(*parts))`, computing the activation in float32, and again for the gradient.

    The hidden activations are the largest tensors of a block. The loop of the activation's gradient computes them again.

    Args:
        layer: A `Dense` for which `is_plain` and `is_trainable` hold.
        activate: Takes and returns tensors, and depends on them only.
        *parts: `(rows, inputs)` each.
    """
    kernel, bias = (tf.cast(tf.convert_to_tensor(weight), parts[0].dtype) for weight in (layer.kernel, layer.bias))
    return _make_projection(activate)(kernel, bias, *parts)


@functools.cache
def _make_projection(activate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    forward = fused(activate)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def backward(parts: tuple[Tensor, ...], of_hidden: Tensor) -> tuple[Tensor, ...]:
        wide = [tf.cast(part, "float32") for part in parts]
        with tf.GradientTape() as tape:
            tape.watch(wide)
            hidden = activate(*wide)
        of_parts = tape.gradient(hidden, wide, tf.cast(of_hidden, "float32"))
        return tuple(tf.cast(each, of_hidden.dtype) for each in (hidden, *of_parts))

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def project(kernel: Tensor, bias: Tensor, *parts: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        def gradients(of_outputs: Tensor) -> tuple[Tensor, ...]:
            of_hidden = tf.matmul(of_outputs, kernel, transpose_b=True)
            hidden, *of_parts = backward(parts, of_hidden)
            return (*compute_weight_gradients(hidden, of_outputs), *of_parts)

        return multiply(forward(*parts), kernel, bias), gradients

    return project  # type: ignore[no-any-return]
