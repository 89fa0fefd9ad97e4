"""Attention by two products with a gradient of its own, for training on TensorFlow."""

import functools
from collections.abc import Callable

from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.kernels.fused import fused
from vit_keras.layers.kernels.softmax_gradient import compute_score_gradient, compute_weights, sum_products


def attend_with_own_gradient(qkv: Tensor) -> Tensor:
    """Returns softmax attention, `(batch, tokens, heads, head_dim)`, from `qkv`, `(batch, tokens, 3, heads, head_dim)`.

    The gradient of the scores is one loop over them. In half precision, no float32 copy of the attention weights is kept.
    """
    return _make_attention()(qkv)


def _compute_score_gradient(weights: Tensor, of_weights: Tensor, outputs: Tensor, of_outputs: Tensor) -> Tensor:
    return compute_score_gradient(weights, of_weights, sum_products(outputs, of_outputs))


@functools.cache
def _make_attention() -> Callable[[Tensor], Tensor]:
    import tensorflow as tf

    fused_score_gradient = fused(_compute_score_gradient)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def attend(qkv: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        scale = qkv.shape[-1] ** -0.5
        queries, keys, values = tf.unstack(tf.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # (batch, heads, tokens, head_dim)
        weights = compute_weights(queries * scale, keys)
        outputs = tf.transpose(tf.matmul(weights, values), (0, 2, 1, 3))

        def gradient(of_outputs: Tensor) -> Tensor:
            of_attended = tf.transpose(of_outputs, (0, 2, 1, 3))
            of_values = tf.matmul(weights, of_attended, transpose_a=True)
            # One product after the other: at the same time, each would wait for the other's threads.
            with tf.control_dependencies([of_values]):
                of_weights = tf.matmul(of_attended, values, transpose_b=True)
            of_scores = fused_score_gradient(weights, of_weights, outputs, of_outputs)
            of_queries = tf.matmul(of_scores, keys) * scale
            with tf.control_dependencies([of_queries]):
                of_keys = tf.matmul(of_scores, queries, transpose_a=True) * scale
            return tf.transpose(tf.stack([of_queries, of_keys, of_values]), (1, 3, 0, 2, 4))

        return outputs, gradient

    return attend  # type: ignore[no-any-return]
