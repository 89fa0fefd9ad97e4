"""The feed-forward network of a block."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_fractions, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.kernels.fused import fused, fuses
from vit_keras.layers.kernels.projection import has_fast_form, is_plain, is_trainable, project
from vit_keras.layers.layer_norm import NORMS

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda inside: keras.activations.gelu(inside, approximate=False),
    "gelu_tanh": lambda inside: keras.activations.gelu(inside, approximate=True),
    "quick_gelu": lambda inside: inside * ops.sigmoid(1.702 * inside),  # Hendrycks and Gimpel 2016, arXiv 1606.08415
    "silu": keras.activations.silu,
}
"""Activation functions of an MLP, by name."""


@keras.saving.register_keras_serializable(package="vit_keras")
class MLP(CompositeLayer):
    """Position-wise feed-forward network: expand, activate, project back.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1; Vaswani et al. 2017, arXiv 1706.03762, equation 2. Gated:
    Shazeer 2020, arXiv 2002.05202, equation 6; one projection gives the gates, then the values.

    Args:
        mlp_dim: Hidden width.
        activation: "gelu" (exact), "gelu_tanh" (tanh approximation), "quick_gelu" (sigmoid approximation) or "silu".
        gated: Multiplies activated gates with values; the first projection is twice as wide.
        inner_norm: Normalizes the hidden activations (Fang et al. 2023, arXiv 2303.11331).
        norm: Kind of that norm: "layer" or "rms".
        norm_epsilon: Added to the variance in that norm.
        use_bias: Adds a bias in both projections.
        output_bias: False leaves out that of the second.
        dropout_rate: Fraction of the hidden activations dropped in training.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

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
        norm: str = "layer",
        norm_epsilon: float = 1e-6,
        use_bias: bool = True,
        output_bias: bool = True,
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, mlp_dim=mlp_dim)
        check_choice(type(self).__name__, choices=tuple(ACTIVATIONS), activation=activation)
        check_choice(type(self).__name__, choices=tuple(NORMS), norm=norm)
        check_fractions(type(self).__name__, dropout_rate=dropout_rate)
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.gated = gated
        self.inner_norm = inner_norm
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.use_bias = use_bias
        self.output_bias = output_bias
        self.dropout_rate = dropout_rate
        dtype = self.dtype_policy
        self.expand = keras.layers.Dense(mlp_dim * (2 if gated else 1), use_bias=use_bias, dtype=dtype, name="expand")
        # Attributes are paths in `.keras` files: this one keeps its spelling.
        self.normalise = (
            NORMS[norm](epsilon=norm_epsilon, dtype=dtype, name="inner_norm")
            if inner_norm
            else keras.layers.Identity(dtype=dtype)
        )
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=dtype, name="dropout")

    def build_parts(self, input_shape: Shape) -> None:
        """Creates both projections."""
        _, hidden_dim = check_tokens(type(self).__name__, input_shape)
        self.expand.build(input_shape)
        self.normalise.build((None, self.mlp_dim))
        self.contract = keras.layers.Dense(
            hidden_dim, use_bias=self.use_bias and self.output_bias, dtype=self.dtype_policy, name="contract"
        )
        self.contract.build((*input_shape[:-1], self.mlp_dim))

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Expands, activates, projects back."""
        _, count, hidden_dim = ops.shape(tokens)
        rows = ops.reshape(tokens, (-1, hidden_dim))  # (batch * tokens, hidden_dim): one matrix product for the batch
        # In inference, TensorFlow has its own fused kernel for this product and the activation.
        has_own_kernel = not training and keras.backend.backend() == "tensorflow"
        inside = self.expand(rows) if has_own_kernel else project(self.expand, rows, training=training)
        parts = ops.split(inside, 2, axis=-1) if self.gated else [inside]
        is_fused = bool(training) and fuses()
        activate = _make_gate(self.activation, is_fused) if self.gated else _activation(self.activation, is_fused)
        if is_fused and self._keeps_little(inside.dtype):
            from vit_keras.layers.kernels.activated_projection import project_activated

            return ops.reshape(project_activated(self.contract, activate, *parts), (-1, count, hidden_dim))
        inside = fused(activate)(*parts) if is_fused else activate(*parts)
        inside = self.dropout(self.normalise(inside, training=training), training=training)
        return ops.reshape(project(self.contract, inside, training=training), (-1, count, hidden_dim))

    def _keeps_little(self, dtype: Any) -> bool:
        """Whether the gradient computes the hidden activations again: in float32, where that costs 1 % of a step; 5 % with matrix units."""
        is_last = isinstance(self.normalise, keras.layers.Identity) and not self.dropout_rate
        return is_last and is_plain(self.contract, dtype) and is_trainable(self.contract) and not has_fast_form(dtype)


def _activation(name: str, is_fused: bool) -> Callable[[Tensor], Tensor]:
    return _gelu_by_erf if name == "gelu" and is_fused else ACTIVATIONS[name]


def _gelu_by_erf(inside: Tensor) -> Tensor:
    """Returns the exact GELU by `erf`; Keras' uses `erfc` on TensorFlow, which takes twice as long in a fused loop."""
    return 0.5 * inside * (1 + ops.erf(inside * math.sqrt(0.5)))


@functools.cache  # `fused` caches by function
def _make_gate(name: str, is_fused: bool) -> Callable[..., Tensor]:
    activate = _activation(name, is_fused)
    return lambda gates, values: activate(gates) * values
