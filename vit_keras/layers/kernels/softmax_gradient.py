"""The attention weights and the gradient of their scores, on TensorFlow."""

from keras import ops

from vit_keras.layers.base.checks import Tensor


def compute_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Returns the attention weights, `(..., queries, keys)`, of scaled queries; the softmax is never computed in half precision."""
    import tensorflow as tf

    scores = tf.matmul(queries, keys, transpose_b=True)
    return tf.cast(tf.nn.softmax(tf.cast(scores, "float32")), queries.dtype)


def compute_score_gradient(weights: Tensor, of_weights: Tensor, sums: Tensor) -> Tensor:
    """Returns the gradient of the scores, `(batch, heads, queries, keys)`, with the `sum_products` of the same queries."""
    return weights * (of_weights - sums)


def sum_products(outputs: Tensor, of_outputs: Tensor) -> Tensor:
    """Returns the sums over the keys of the weights times their gradients, `(batch, heads, queries, 1)`, from smaller tensors.

    They are those of the outputs, `(batch, queries, heads, head_dim)`, times theirs: Dao et al. 2022, arXiv 2205.14135, appendix B.2.
    """
    return ops.transpose(ops.sum(outputs * of_outputs, -1), (0, 2, 1))[..., None]
