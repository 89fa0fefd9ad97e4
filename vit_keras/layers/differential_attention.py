"""Differential attention: the difference of two attention maps per head."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Shape, Tensor, check_fractions, check_tokens
from vit_keras.layers.base.grids import valid_mask
from vit_keras.layers.kernels.attention_kernel import MASKED_SCORE
from vit_keras.layers.layer_norm import RMSNorm
from vit_keras.layers.self_attention import SelfAttention

_LAMBDAS = ("lambda_query_1", "lambda_key_1", "lambda_query_2", "lambda_key_2")
EPSILON = 1e-5
"""Of the norm of each head, in the paper's code and in timm."""


@keras.saving.register_keras_serializable(package="vit_keras")
class DifferentialAttention(SelfAttention):
    """Self-attention in which each head subtracts a second attention map, times a learned factor, from its first.

    Paper: Ye et al. 2024, arXiv 2410.05258, section 2.1, equations 1 to 3. Half of a head's queries and keys make each map; the factor
    is their lambda. Each head's output is normalized by `head_norm` and scaled by `1 - lambda_init`.

    Args:
        num_heads: Attention heads; twice their number divides the tokens' width.
        lambda_init: The factor's constant part, a fraction; in the paper it rises with the block's index.
        **kwargs: As for `SelfAttention`, without norms or positions of queries and keys.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Example:
        >>> DifferentialAttention(4, lambda_init=0.2)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(self, num_heads: int, *, lambda_init: float, **kwargs: Any) -> None:
        super().__init__(num_heads, **kwargs)
        check_fractions(type(self).__name__, lambda_init=lambda_init)
        self.lambda_init = lambda_init
        self.head_norm = RMSNorm(epsilon=EPSILON, dtype=self.dtype_policy, name="head_norm")

    def build_parts(self, input_shape: Shape) -> None:
        """Creates the projections, the factor's vectors and the norm of each head."""
        _, hidden_dim = check_tokens(type(self).__name__, input_shape, num_heads=2 * self.num_heads)
        super().build_parts(input_shape)
        normal = keras.initializers.RandomNormal(stddev=0.1)
        shape = (hidden_dim // self.num_heads // 2,)
        self.lambdas = [
            self.add_weight(shape=shape, initializer=normal, autocast=False, name=name) for name in _LAMBDAS
        ]
        self.head_norm.build((None, hidden_dim // self.num_heads))

    def _attend(
        self,
        qkv: Tensor,
        dropout: Callable[..., Tensor] | None,
        bias: Tensor | None,
        num_valid: Tensor | None,
        training: bool | None,
    ) -> Tensor:
        queries, keys, values = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # (batch, heads, tokens, head_dim)
        if num_valid is not None:
            masked = ops.where(valid_mask(num_valid, ops.shape(qkv)[1]), 0.0, MASKED_SCORE)[:, None, None]
            bias = masked if bias is None else masked + ops.cast(bias, "float32")
        pairs = zip(ops.split(queries, 2, axis=-1), ops.split(keys, 2, axis=-1), strict=True)
        first, second = (self._compute_map(query, key, bias, dropout) for query, key in pairs)
        difference = ops.cast(first - self.compute_lambda() * second, values.dtype)
        heads = self.head_norm(ops.matmul(difference, values)) * (1 - self.lambda_init)
        return ops.transpose(heads, (0, 2, 1, 3))

    def _compute_map(
        self, queries: Tensor, keys: Tensor, bias: Tensor | None, dropout: Callable[..., Tensor] | None
    ) -> Tensor:
        """Returns attention weights, `(batch, heads, tokens, tokens)`, float32."""
        scores = ops.matmul(queries * queries.shape[-1] ** -0.5, ops.transpose(keys, (0, 1, 3, 2)))
        scores = ops.cast(scores, "float32")
        weights = ops.softmax(scores if bias is None else scores + ops.cast(bias, "float32"))
        return weights if dropout is None else ops.cast(dropout(weights), "float32")

    def compute_lambda(self) -> Tensor:
        """Returns the factor of the second map, the paper's equation 2."""
        query_1, key_1, query_2, key_2 = (ops.cast(weight, "float32") for weight in self.lambdas)
        return ops.exp(ops.sum(query_1 * key_1)) - ops.exp(ops.sum(query_2 * key_2)) + self.lambda_init


def lambda_init_of(index: int) -> float:
    """Returns the constant part of the factor in a block, which rises from 0.2 in the first towards 0.8 (section 2.1).

    >>> [round(lambda_init_of(index), 2) for index in (0, 1, 11)]
    [0.2, 0.36, 0.78]
    """
    return 0.8 - 0.6 * math.exp(-0.3 * index)
