"""The product of rows and a dense layer's kernel plus its bias, by the fastest operations of the backend and the processor."""

import functools
import os
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.kernels.local_graph import is_local_graph
from vit_keras.runtime.cpu import instruction_sets


def project(layer: keras.layers.Layer, rows: Tensor, *, training: bool | None) -> Tensor:
    """Returns `layer(rows)`; for a plain `Dense` by faster operations where there are some.

    On torch, one operation multiplies and adds the bias. On TensorFlow, see `has_fast_form`; it is used in graphs that are never exported:
    those of training, where both weights are trainable, and of `predict` (`local_graph`).

    Shapes:
        rows: `(rows, inputs)`; of another rank, it is `layer(rows)`.
        returns: `(rows, units)`.
    """
    if len(rows.shape) != 2 or not is_plain(layer, rows.dtype):
        return layer(rows)
    if keras.backend.backend() == "torch":
        import torch

        return torch.addmm(ops.cast(layer.bias, rows.dtype), rows, ops.cast(layer.kernel, rows.dtype))
    is_possible = is_trainable(layer) if training else is_local_graph()
    if not is_possible or not has_fast_form(rows.dtype):
        return layer(rows)
    import tensorflow as tf

    kernel, bias = (tf.cast(tf.convert_to_tensor(weight), rows.dtype) for weight in (layer.kernel, layer.bias))
    return _make_projection()(rows, kernel, bias)


@functools.cache
def has_fast_form(dtype: Any) -> bool:
    """Returns whether `project` makes a difference: for bfloat16 on TensorFlow, on a processor with matrix units (AMX).

    There, oneDNN's product with a bias does not use the matrix units, but its 1 x 1 convolution with a bias does.
    """
    if keras.backend.backend() != "tensorflow" or keras.backend.standardize_dtype(dtype) != "bfloat16":
        return False
    if "amx_bf16" not in instruction_sets() or os.environ.get("TF_ENABLE_ONEDNN_OPTS") in ("0", "false"):
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def is_plain(layer: keras.layers.Layer, dtype: Any) -> bool:
    """Returns whether a layer is Keras' own, computes in this dtype, has a bias, and neither adapters nor integer weights."""
    is_changed = layer.quantization_mode is not None or getattr(layer, "lora_enabled", False)
    is_dense = type(layer) is keras.layers.Dense and layer.bias is not None and not is_changed
    return is_dense and keras.backend.standardize_dtype(dtype) == layer.compute_dtype


def is_trainable(layer: keras.layers.Layer) -> bool:
    """Returns whether all weights need a gradient; the gradients of this folder compute all of them."""
    return all(weight.trainable for weight in layer.weights)


def multiply(rows: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Returns `rows @ kernel + bias` by the fastest operations of TensorFlow."""
    import tensorflow as tf

    if not has_fast_form(rows.dtype):
        return tf.nn.bias_add(tf.matmul(rows, kernel), bias)
    product = tf.nn.conv2d(rows[None, :, None], kernel[None, None], 1, "VALID")  # (1, rows, 1, units)
    return tf.nn.bias_add(product, bias)[0, :, 0]


def compute_weight_gradients(rows: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of kernel and bias, given that of the outputs."""
    import tensorflow as tf

    of_kernel = tf.matmul(rows, gradient, transpose_a=True)
    if not has_fast_form(rows.dtype):
        return of_kernel, tf.raw_ops.BiasAddGrad(out_backprop=gradient)
    ones = tf.ones((1, tf.shape(gradient)[0]), gradient.dtype)
    return of_kernel, tf.matmul(ones, gradient)[0]  # a product uses the matrix units, a sum does not


@functools.cache
def _make_projection() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def project(rows: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        def gradients(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            of_kernel, of_bias = compute_weight_gradients(rows, gradient)
            # One product after the other: at the same time, each would wait for the other's threads.
            with tf.control_dependencies([of_kernel]):
                of_rows = tf.matmul(gradient, kernel, transpose_b=True)
            return of_rows, of_kernel, of_bias

        return multiply(rows, kernel, bias), gradients

    return project  # type: ignore[no-any-return]
