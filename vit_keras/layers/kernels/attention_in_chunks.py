"""Attention for many tokens whose memory grows with the tokens and not with their square, for training on TensorFlow."""

import functools
from collections.abc import Callable

from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.kernels.softmax_gradient import compute_score_gradient, compute_weights, sum_products

CHUNK = 256
"""Queries whose attention weights are in memory at once."""
MANY = 1024
"""Tokens above which training on TensorFlow attends in chunks."""


def attend_in_chunks(qkv: Tensor) -> Tensor:
    """Returns softmax attention, `(batch, tokens, heads, head_dim)`, from `qkv`, `(batch, tokens, 3, heads, head_dim)`.

    A chunk of the queries attends after the other, and the gradient computes the attention weights again (Rabe and Staats 2021, arXiv
    2112.05682, section 2), with sums in float32.
    """
    return _make_attention()(qkv)


@functools.cache
def _make_attention() -> Callable[[Tensor], Tensor]:
    import tensorflow as tf

    def to_chunks(tokens: Tensor) -> Tensor:
        """Returns `(batch, tokens, heads, head_dim)` as `(chunks, batch, heads, CHUNK, head_dim)`, filled up with zeros."""
        length, heads, head_dim = tokens.shape[1:]
        count = -(-length // CHUNK)
        filled = tf.pad(tokens, ((0, 0), (0, count * CHUNK - length), (0, 0), (0, 0)))
        return tf.transpose(tf.reshape(filled, (-1, count, CHUNK, heads, head_dim)), (1, 0, 3, 2, 4))

    def from_chunks(chunks: Tensor, like: Tensor) -> Tensor:
        """Returns `(chunks, batch, heads, CHUNK, head_dim)` as `like`, `(batch, tokens, heads, head_dim)`."""
        length, heads, head_dim = like.shape[1:]
        count = -(-length // CHUNK)
        return tf.reshape(tf.transpose(chunks, (1, 0, 3, 2, 4)), (-1, count * CHUNK, heads, head_dim))[:, :length]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def attend(qkv: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        scale = qkv.shape[-1] ** -0.5

        def split() -> tuple[Tensor, Tensor, Tensor]:
            # (batch, heads, tokens, head_dim) each
            keys, values = tf.unstack(tf.transpose(qkv[:, :, 1:], (2, 0, 3, 1, 4)), 2)
            return to_chunks(qkv[:, :, 0] * scale), keys, values

        queries, keys, values = split()
        attended = tf.map_fn(
            lambda chunk: tf.matmul(compute_weights(chunk, keys), values), queries, parallel_iterations=1
        )
        outputs = from_chunks(attended, qkv[:, :, 0])

        def gradient(of_outputs: Tensor) -> Tensor:
            queries, keys, values = split()
            products = sum_products(tf.cast(outputs, "float32"), tf.cast(of_outputs, "float32"))
            sums = to_chunks(tf.transpose(products, (0, 2, 1, 3)))
            of_attended = to_chunks(of_outputs)

            def step(index: Tensor, of_keys: Tensor, of_values: Tensor, of_queries: Tensor) -> tuple[Tensor, ...]:
                weights = compute_weights(queries[index], keys)
                of_weights = tf.matmul(of_attended[index], values, transpose_b=True)
                wide, of_wide = (tf.cast(each, "float32") for each in (weights, of_weights))
                of_scores = tf.cast(compute_score_gradient(wide, of_wide, sums[index]), qkv.dtype)
                of_keys += tf.cast(tf.matmul(of_scores, queries[index], transpose_a=True), "float32")
                of_values += tf.cast(tf.matmul(weights, of_attended[index], transpose_a=True), "float32")
                return index + 1, of_keys, of_values, of_queries.write(index, tf.matmul(of_scores, keys))

            count = queries.shape[0]
            zeros = tf.zeros_like(keys, "float32")
            rows = tf.TensorArray(qkv.dtype, count, element_shape=queries.shape[1:])
            loop = (tf.constant(0), zeros, zeros, rows)
            _, of_keys, of_values, rows = tf.while_loop(
                lambda index, *_: index < count, step, loop, parallel_iterations=1
            )
            of_queries = from_chunks(rows.stack(), of_outputs) * scale
            others = (tf.cast(tf.transpose(each, (0, 2, 1, 3)), qkv.dtype) for each in (of_keys, of_values))
            return tf.stack([of_queries, *others], 2)

        return outputs, gradient

    return attend  # type: ignore[no-any-return]
