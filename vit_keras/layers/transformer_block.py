"""One block of the encoder."""

import functools
from typing import Any

import keras

from vit_keras.layers.checks import Shape, Tensor, check_choice, check_positive, check_tokens
from vit_keras.layers.layer_scale import LayerScale
from vit_keras.layers.mlp import MLP
from vit_keras.layers.self_attention import SelfAttention
from vit_keras.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="vit_keras")
class TransformerBlock(keras.layers.Layer):
    """Attention across the tokens, then an MLP in each, both normalised first and added to what came in.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, equations 2 and 3. Our `attention` is their MSA.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        mlp_dim: Width inside the MLP.
        activation: "gelu" or "gelu_tanh".
        norm_epsilon: Added to the variance in both norms.
        layer_scale: Initial value of both branches' scales, or None.
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
        activation: str = "gelu",
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
        self.activation = activation
        self.norm_epsilon = norm_epsilon
        self.layer_scale = layer_scale
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate
        self.stochastic_depth_rate = stochastic_depth_rate
        self.remat = remat

        dtype = self.dtype_policy
        self.attention_norm = keras.layers.LayerNormalization(epsilon=norm_epsilon, dtype=dtype, name="attention_norm")
        self.attention = SelfAttention(num_heads, dropout_rate=attention_dropout_rate, dtype=dtype, name="attention")
        self.mlp_norm = keras.layers.LayerNormalization(epsilon=norm_epsilon, dtype=dtype, name="mlp_norm")
        self.mlp = MLP(mlp_dim, activation=activation, dropout_rate=dropout_rate, dtype=dtype, name="mlp")
        self.attention_scale, self.mlp_scale = (
            LayerScale(layer_scale, dtype=dtype, name=name)
            if layer_scale is not None
            else keras.layers.Identity(dtype=dtype)
            for name in ("attention_scale", "mlp_scale")
        )
        self.attention_depth, self.mlp_depth = (
            StochasticDepth(stochastic_depth_rate, dtype=dtype, name=name) for name in ("attention_depth", "mlp_depth")
        )

    def build(self, input_shape: Shape) -> None:
        """Builds every part for tokens of this shape."""
        check_tokens(type(self).__name__, input_shape, num_heads=self.num_heads)
        for part in (
            self.attention_norm,
            self.attention,
            self.attention_scale,
            self.mlp_norm,
            self.mlp,
            self.mlp_scale,
        ):
            part.build(input_shape)
        self.built = True

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Computes the paper's equations 2 and 3."""
        attend = functools.partial(self._attend, training=training)
        think = functools.partial(self._think, training=training)
        if training and self.remat == "block":
            attend, think = keras.remat(attend), keras.remat(think)
        tokens = tokens + self.attention_depth(attend(tokens), training=training)
        return tokens + self.mlp_depth(think(tokens), training=training)

    def _attend(self, tokens: Tensor, training: bool | None) -> Tensor:
        return self.attention_scale(self.attention(self.attention_norm(tokens), training=training))

    def _think(self, tokens: Tensor, training: bool | None) -> Tensor:
        return self.mlp_scale(self.mlp(self.mlp_norm(tokens), training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "activation": self.activation,
            "norm_epsilon": self.norm_epsilon,
            "layer_scale": self.layer_scale,
            "dropout_rate": self.dropout_rate,
            "attention_dropout_rate": self.attention_dropout_rate,
            "stochastic_depth_rate": self.stochastic_depth_rate,
            "remat": self.remat,
        }
