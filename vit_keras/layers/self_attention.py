"""Every token looks at every other."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.checks import Shape, Tensor, check_fractions, check_positive, check_tokens


@keras.saving.register_keras_serializable(package="vit_keras")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention with one projection for queries, keys and values.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, appendix A, equations 5 to 8. Our `qkv` is their U_qkv, `output`
    their U_msa. The scores and the weighted sum run in the fastest form the backend has: cuDNN flash attention on JAX,
    `scaled_dot_product_attention` on torch, two batched matrix products on TensorFlow. Dropping attention weights needs
    the weights themselves, so training with `dropout_rate` takes the products everywhere; inference never does.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        dropout_rate: Fraction of the attention weights dropped in training.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Raises:
        InvalidArgumentError: An argument is out of its range, or the heads do not divide the width.

    Example:
        >>> SelfAttention(4)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(self, num_heads: int, *, dropout_rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, num_heads=num_heads)
        check_fractions(type(self).__name__, dropout_rate=dropout_rate)
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Shape) -> None:
        """Makes both projections."""
        _, hidden_dim = check_tokens(type(self).__name__, input_shape, num_heads=self.num_heads)
        # LeCun's limit for (d, 3d) is Glorot's for each of the three (d, d) inside it.
        self.qkv = keras.layers.Dense(
            3 * hidden_dim, kernel_initializer="lecun_uniform", dtype=self.dtype_policy, name="qkv"
        )
        self.qkv.build(input_shape)
        self.output_projection = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="output")
        self.output_projection.build(input_shape)
        self.built = True

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Projects, attends head by head, joins the heads and projects."""
        _, count, hidden_dim = tokens.shape
        head_dim = hidden_dim // self.num_heads
        rows = ops.reshape(tokens, (-1, hidden_dim))  # one matrix product, forward and back, not one an image
        qkv = ops.reshape(self.qkv(rows), (-1, count, 3, self.num_heads, head_dim))
        drops = bool(training) and self.dropout_rate > 0
        if keras.backend.backend() == "tensorflow" or drops:
            values = self._attend_by_products(qkv, training)
        else:
            queries, keys, values = (qkv[:, :, index] for index in range(3))  # (batch, tokens, heads, head_dim)
            values = ops.dot_product_attention(queries, keys, values)
        joined = self.output_projection(ops.reshape(values, (-1, hidden_dim)))
        return ops.reshape(joined, (-1, count, hidden_dim))

    def _attend_by_products(self, qkv: Tensor, training: bool | None) -> Tensor:
        queries, keys, values = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # (batch, heads, tokens, head_dim)
        queries = queries * qkv.shape[-1] ** -0.5
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
        weights = ops.softmax(ops.cast(scores, "float32"))  # never in half precision
        weights = self.dropout(ops.cast(weights, scores.dtype), training=training)
        return ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads, "dropout_rate": self.dropout_rate}
