"""The two-layer perceptron of a block."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_fractions, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.kernels.fused import fused
from vit_keras.layers.layer_norm import LayerNorm

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda inside: keras.activations.gelu(inside, approximate=False),
    "gelu_tanh": lambda inside: keras.activations.gelu(inside, approximate=True),
    "quick_gelu": lambda inside: inside * ops.sigmoid(1.702 * inside),  # Hendrycks and Gimpel 2016, arXiv 1606.08415
    "silu": keras.activations.silu,
}
"""What an MLP can bend its numbers with, by name."""


@keras.saving.register_keras_serializable(package="vit_keras")
class MLP(CompositeLayer):
    """Each token by itself: made wider, bent, made as wide as it was.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1; Vaswani et al. 2017, arXiv 1706.03762, equation 2. Gated:
    Shazeer 2020, arXiv 2002.05202, equation 6; one projection makes the gates, then the values.

    Args:
        mlp_dim: Width inside.
        activation: "gelu", exact, "gelu_tanh", its tanh approximation, "quick_gelu", its sigmoid approximation, or "silu".
        gated: Multiplies as many values as there are activated numbers with those: twice as wide before, `mlp_dim` after.
        inner_norm: Normalises the numbers inside (Fang et al. 2023, arXiv 2303.11331).
        norm_epsilon: Added to the variance in that norm.
        dropout_rate: Fraction of the numbers inside dropped in training.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Raises:
        InvalidArgumentError: An argument is out of its range.

    Example:
        >>> MLP(256)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(
        self,
        mlp_dim: int,
        *,
        activation: str = "gelu",
        gated: bool = False,
        inner_norm: bool = False,
        norm_epsilon: float = 1e-6,
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, mlp_dim=mlp_dim)
        check_choice(type(self).__name__, choices=tuple(ACTIVATIONS), activation=activation)
        check_fractions(type(self).__name__, dropout_rate=dropout_rate)
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.gated = gated
        self.inner_norm = inner_norm
        self.norm_epsilon = norm_epsilon
        self.dropout_rate = dropout_rate
        dtype = self.dtype_policy
        self.expand = keras.layers.Dense(mlp_dim * (2 if gated else 1), dtype=dtype, name="expand")
        self.normalise = (
            LayerNorm(epsilon=norm_epsilon, dtype=dtype, name="inner_norm")
            if inner_norm
            else keras.layers.Identity(dtype=dtype)
        )
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=dtype, name="dropout")

    def build_parts(self, input_shape: Shape) -> None:
        """Makes both projections."""
        _, hidden_dim = check_tokens(type(self).__name__, input_shape)
        self.expand.build(input_shape)
        self.normalise.build((None, self.mlp_dim))
        self.contract = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="contract")
        self.contract.build((*input_shape[:-1], self.mlp_dim))

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Expands, bends and contracts."""
        _, count, hidden_dim = tokens.shape
        rows = ops.reshape(tokens, (-1, hidden_dim))  # one matrix product, forward and back, not one an image
        inside = self.expand(rows)
        if self.gated:
            parts: list[Tensor] = ops.split(inside, 2, axis=-1)
            bend: Callable[..., Tensor] = _gated(self.activation)
        else:
            parts, bend = [inside], ACTIVATIONS[self.activation]
        # In inference TensorFlow has a kernel of its own for the product and what bends it.
        inside = fused(bend)(*parts) if training else bend(*parts)
        inside = self.dropout(self.normalise(inside, training=training), training=training)
        return ops.reshape(self.contract(inside), (-1, count, hidden_dim))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "mlp_dim": self.mlp_dim,
            "activation": self.activation,
            "gated": self.gated,
            "inner_norm": self.inner_norm,
            "norm_epsilon": self.norm_epsilon,
            "dropout_rate": self.dropout_rate,
        }


@functools.cache
def _gated(activation: str) -> Callable[[Tensor, Tensor], Tensor]:
    def gated(gates: Tensor, values: Tensor) -> Tensor:
        return ACTIVATIONS[activation](gates) * values

    return gated
