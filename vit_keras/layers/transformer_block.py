"""One block of the encoder."""

import functools
from typing import Any

import keras

from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.layer_norm import LayerNorm
from vit_keras.layers.layer_scale import LayerScale
from vit_keras.layers.mlp import MLP
from vit_keras.layers.self_attention import SelfAttention
from vit_keras.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="vit_keras")
class TransformerBlock(CompositeLayer):
    """Attention across the tokens, then an MLP in each, both normalised first and added to what came in.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, equations 2 and 3. Our `attention` is their MSA. Parallel:
    Dehghani et al. 2023, arXiv 2302.05442, section 2: both branches read the same normalised tokens, and one scale serves both.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        mlp_dim: Width inside the MLP.
        parallel: Computes both branches side by side.
        activation: "gelu", "gelu_tanh", "quick_gelu" or "silu".
        gated_mlp: Multiplies the MLP's activated numbers with as many values.
        mlp_inner_norm: Normalises inside the MLP.
        qkv_bias: Which of queries, keys and values have a bias: "all", "query_value" or "none".
        qk_norm: Normalises queries and keys in each head.
        rotary: Arguments of the `RotaryEmbedding` that turns queries and keys, or None.
        norm_epsilon: Added to the variance in every norm.
        layer_scale: Initial value of the branches' scales, or None.
        dropout_rate: Fraction dropped inside the MLP in training.
        attention_dropout_rate: Fraction of the attention weights dropped in training.
        stochastic_depth_rate: Fraction of the images that skip a branch in training.
        remat: "none", or "block" to recompute both branches in the backward pass instead of keeping their insides. Needs
            both dropout rates at 0, whose masks a second computation would draw anew.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Raises:
        InvalidArgumentError: An argument is out of its range, or the heads do not divide the width.

    Example:
        >>> TransformerBlock(4, 256)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        *,
        parallel: bool = False,
        activation: str = "gelu",
        gated_mlp: bool = False,
        mlp_inner_norm: bool = False,
        qkv_bias: str = "all",
        qk_norm: bool = False,
        rotary: dict[str, Any] | None = None,
        norm_epsilon: float = 1e-6,
        layer_scale: float | None = None,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        remat: str = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, num_heads=num_heads, mlp_dim=mlp_dim)
        check_choice(type(self).__name__, choices=("none", "block"), remat=remat)
        if remat == "block":
            no_dropout = {"dropout_rate": dropout_rate, "attention_dropout_rate": attention_dropout_rate}
            check_choice('TransformerBlock with remat="block"', choices=(0,), **no_dropout)  # type: ignore[arg-type]
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.parallel = parallel
        self.activation = activation
        self.gated_mlp = gated_mlp
        self.mlp_inner_norm = mlp_inner_norm
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm
        self.rotary = rotary
        self.norm_epsilon = norm_epsilon
        self.layer_scale = layer_scale
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate
        self.stochastic_depth_rate = stochastic_depth_rate
        self.remat = remat

        dtype = self.dtype_policy
        self.attention_norm = self._norm("norm" if parallel else "attention_norm")
        self.attention = SelfAttention(
            num_heads, qkv_bias=qkv_bias, qk_norm=qk_norm, norm_epsilon=norm_epsilon, rotary=rotary,
            dropout_rate=attention_dropout_rate, dtype=dtype, name="attention",
        )  # fmt: skip
        self.mlp_norm = keras.layers.Identity(dtype=dtype) if parallel else self._norm("mlp_norm")
        self.mlp = MLP(
            mlp_dim, activation=activation, gated=gated_mlp, inner_norm=mlp_inner_norm, norm_epsilon=norm_epsilon,
            dropout_rate=dropout_rate, dtype=dtype, name="mlp",
        )  # fmt: skip
        branches = ("",) if parallel else ("attention_", "mlp_")
        self.scales = [self._scale(f"{branch}scale") for branch in branches]
        self.depths = [
            StochasticDepth(stochastic_depth_rate, dtype=dtype, name=f"{branch}depth") for branch in branches
        ]

    def _norm(self, name: str) -> keras.layers.Layer:
        return LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype_policy, name=name)

    def _scale(self, name: str) -> keras.layers.Layer:
        if self.layer_scale is None:
            return keras.layers.Identity(dtype=self.dtype_policy)
        return LayerScale(self.layer_scale, dtype=self.dtype_policy, name=name)

    def build_parts(self, input_shape: Shape) -> None:
        """Builds every part for tokens of this shape."""
        check_tokens(type(self).__name__, input_shape, num_heads=self.num_heads)
        for part in (self.attention_norm, self.attention, self.mlp_norm, self.mlp, *self.scales):
            part.build(input_shape)

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Computes the paper's equations 2 and 3."""
        branches = (self._both,) if self.parallel else (self._attend, self._think)
        for branch, depth in zip(branches, self.depths, strict=True):
            compute = functools.partial(branch, training=training)
            if training and self.remat == "block":
                compute = keras.remat(compute)
            tokens = tokens + depth(compute(tokens), training=training)
        return tokens

    def _attend(self, tokens: Tensor, training: bool | None) -> Tensor:
        normalised = self.attention_norm(tokens, training=training)
        return self.scales[0](self.attention(normalised, training=training))

    def _think(self, tokens: Tensor, training: bool | None) -> Tensor:
        normalised = self.mlp_norm(tokens, training=training)
        return self.scales[1](self.mlp(normalised, training=training))

    def _both(self, tokens: Tensor, training: bool | None) -> Tensor:
        normalised = self.attention_norm(tokens, training=training)
        return self.scales[0](self.attention(normalised, training=training) + self.mlp(normalised, training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "parallel": self.parallel,
            "activation": self.activation,
            "gated_mlp": self.gated_mlp,
            "mlp_inner_norm": self.mlp_inner_norm,
            "qkv_bias": self.qkv_bias,
            "qk_norm": self.qk_norm,
            "rotary": self.rotary,
            "norm_epsilon": self.norm_epsilon,
            "layer_scale": self.layer_scale,
            "dropout_rate": self.dropout_rate,
            "attention_dropout_rate": self.attention_dropout_rate,
            "stochastic_depth_rate": self.stochastic_depth_rate,
            "remat": self.remat,
        }
