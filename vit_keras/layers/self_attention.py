"""Multi-head self-attention."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_fractions, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.base.grids import count_valid
from vit_keras.layers.kernels.attention_gradient import attend_with_own_gradient
from vit_keras.layers.kernels.attention_in_chunks import MANY, attend_in_chunks
from vit_keras.layers.kernels.attention_kernel import PRODUCTS, attention_kernel
from vit_keras.layers.kernels.fused import fuses
from vit_keras.layers.kernels.projection import project
from vit_keras.layers.layer_norm import NORMS
from vit_keras.layers.positions.relative_position_bias import RelativePositionBias
from vit_keras.layers.positions.rotary_embedding import RotaryEmbedding


@keras.saving.register_keras_serializable(package="vit_keras")
class SelfAttention(CompositeLayer):
    """Multi-head self-attention with one projection for queries, keys and values.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, appendix A, equations 5 to 8. Our `qkv` is their U_qkv, `output`
    their U_msa. `attention_kernel` says which kernel computes it on this backend and device.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        qkv_bias: Which of queries, keys and values have a bias: "all", "query_value" or "none".
        qk_norm: Normalizes queries and keys in each head (Dehghani et al. 2023, arXiv 2302.05442, section 2).
        inner_norm: Normalizes the joined heads before the output projection (Fang et al. 2023, arXiv 2303.11331).
        norm: Kind of those norms: "layer" or "rms".
        norm_epsilon: Added to the variance in those norms.
        output_bias: Adds a bias in the output projection.
        rotary: Arguments of the `RotaryEmbedding` of queries and keys, or None.
        relative_position: Arguments of the `RelativePositionBias` of the scores, but for `num_heads`; or None.
        dropout_rate: Fraction of the attention weights dropped in training.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        patch_indices: As for `RotaryEmbedding`; or of packed images, `(batch, tokens, 2)`, as `PackedIndices` returns them: no token
            attends to padding.
        attention_bias: `(num_heads, tokens, tokens)`, added to the scores.
        returns: The same as `tokens`.

    Example:
        >>> SelfAttention(4)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(
        self,
        num_heads: int,
        *,
        qkv_bias: str = "all",
        qk_norm: bool = False,
        inner_norm: bool = False,
        norm: str = "layer",
        norm_epsilon: float = 1e-6,
        output_bias: bool = True,
        rotary: dict[str, Any] | None = None,
        relative_position: dict[str, Any] | None = None,
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, num_heads=num_heads)
        check_choice(type(self).__name__, choices=("all", "query_value", "none"), qkv_bias=qkv_bias)
        check_choice(type(self).__name__, choices=tuple(NORMS), norm=norm)
        check_fractions(type(self).__name__, dropout_rate=dropout_rate)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm
        self.inner_norm = inner_norm
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.output_bias = output_bias
        self.rotary = rotary
        self.relative_position = relative_position
        self.dropout_rate = dropout_rate
        self.is_recomputed = False  # a block with remat sets it: XLA's loops stay few where a branch is recomputed
        dtype = self.dtype_policy
        identity = keras.layers.Identity
        self.query_norm, self.key_norm = (
            NORMS[norm](epsilon=norm_epsilon, dtype=dtype, name=name) if qk_norm else identity(dtype=dtype)
            for name in ("query_norm", "key_norm")
        )
        self.normalize = (
            NORMS[norm](epsilon=norm_epsilon, dtype=dtype, name="inner_norm") if inner_norm else identity(dtype=dtype)
        )
        self.rotate = identity(dtype=dtype) if rotary is None else RotaryEmbedding(**rotary, dtype=dtype, name="rotary")
        if relative_position is not None:
            self.position_bias = RelativePositionBias(
                **relative_position, num_heads=num_heads, dtype=dtype, name="relative_position"
            )
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=dtype, name="dropout")

    def build_parts(self, input_shape: Shape) -> None:
        """Creates both projections."""
        count, hidden_dim = check_tokens(type(self).__name__, input_shape, num_heads=self.num_heads)
        # LeCun's limit for (d, 3d) is Glorot's for each of the three (d, d) in it.
        self.qkv = keras.layers.Dense(
            3 * hidden_dim, use_bias=self.qkv_bias == "all", kernel_initializer="lecun_uniform", dtype=self.dtype_policy,
            name="qkv",
        )  # fmt: skip
        self.qkv.build(input_shape)
        if self.qkv_bias == "query_value":
            self.query_bias = self.add_weight(shape=(hidden_dim,), initializer="zeros", name="query_bias")
            self.value_bias = self.add_weight(shape=(hidden_dim,), initializer="zeros", name="value_bias")
        heads = (None, count, self.num_heads, hidden_dim // self.num_heads)
        for part in (self.query_norm, self.key_norm, self.rotate):
            part.build(heads)
        self.normalize.build((None, hidden_dim))
        if self.relative_position is not None:
            self.position_bias.build(input_shape)
        self.output_projection = keras.layers.Dense(
            hidden_dim, use_bias=self.output_bias, dtype=self.dtype_policy, name="output"
        )
        self.output_projection.build(input_shape)

    def call(
        self,
        tokens: Tensor,
        patch_indices: Tensor | None = None,
        attention_bias: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Computes the paper's equations 5 to 8."""
        _, count, hidden_dim = ops.shape(tokens)
        rows = ops.reshape(tokens, (-1, hidden_dim))  # (batch * tokens, hidden_dim): one matrix product for the batch
        qkv = project(self.qkv, rows, training=training)
        if self.qkv_bias == "query_value":
            no_bias = ops.zeros((hidden_dim,), self.query_bias.dtype)
            qkv = qkv + ops.cast(ops.concatenate([self.query_bias, no_bias, self.value_bias]), qkv.dtype)
        qkv = ops.reshape(qkv, (-1, count, 3, self.num_heads, hidden_dim // self.num_heads))
        if self.qk_norm or self.rotary is not None:
            queries, keys, values = ops.unstack(qkv, 3, axis=2)
            queries = self.query_norm(queries, training=training)
            keys = self.key_norm(keys, training=training)
            if self.rotary is not None:
                queries, keys = (self.rotate(heads, patch_indices) for heads in (queries, keys))
            qkv = ops.stack([queries, keys, values], axis=2)
        dropout = functools.partial(self.dropout, training=True) if training and self.dropout_rate else None
        bias = self.add_position_bias(tokens, attention_bias)
        attended = self._attend(qkv, dropout, bias, count_valid(patch_indices), training)
        joined = self.normalize(ops.reshape(attended, (-1, hidden_dim)), training=training)
        outputs = project(self.output_projection, joined, training=training)
        return ops.reshape(outputs, (-1, count, hidden_dim))

    def add_position_bias(self, tokens: Tensor, attention_bias: Tensor | None) -> Tensor | None:
        """Returns what is added to the scores: the given bias plus the layer's own; None for nothing."""
        if self.relative_position is None:
            return attention_bias
        own = self.position_bias(tokens)
        return own if attention_bias is None else own + attention_bias

    def _attend(
        self,
        qkv: Tensor,
        dropout: Callable[..., Tensor] | None,
        bias: Tensor | None,
        num_valid: Tensor | None,
        training: bool | None,
    ) -> Tensor:
        """Returns softmax attention, `(batch, tokens, heads, head_dim)`, from `qkv`, `(batch, tokens, 3, heads, head_dim)`."""
        _, count, _, num_heads, head_dim = ops.shape(qkv)
        kernel = attention_kernel(
            num_tokens=count, num_heads=num_heads, head_dim=head_dim, dtype=self.compute_dtype, training=bool(training),
            dropout=dropout is not None, bias=bias is not None, has_padding=num_valid is not None,
        )  # fmt: skip
        is_plain = kernel.name == PRODUCTS and dropout is None and bias is None and num_valid is None
        if is_plain and training and keras.backend.backend() == "tensorflow":
            if isinstance(count, int) and count > MANY:
                return attend_in_chunks(qkv)
            if not self.is_recomputed and fuses():
                return attend_with_own_gradient(qkv)
        return kernel.attend(qkv, dropout, bias, num_valid)
