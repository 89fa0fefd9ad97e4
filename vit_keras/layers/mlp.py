"""The two-layer perceptron of a block."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.checks import Shape, Tensor, check_choice, check_fractions, check_positive, check_tokens

_ACTIVATIONS = {"gelu": False, "gelu_tanh": True}  # name -> approximated by a tanh?


@keras.saving.register_keras_serializable(package="vit_keras")
class MLP(keras.layers.Layer):
    """Each token by itself: made wider, bent, made as wide as it was.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1; Vaswani et al. 2017, arXiv 1706.03762, equation 2.

    Args:
        mlp_dim: Width inside.
        activation: "gelu", exact, or "gelu_tanh", its tanh approximation.
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

    def __init__(self, mlp_dim: int, *, activation: str = "gelu", dropout_rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, mlp_dim=mlp_dim)
        check_choice(type(self).__name__, choices=tuple(_ACTIVATIONS), activation=activation)
        check_fractions(type(self).__name__, dropout_rate=dropout_rate)
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.dropout_rate = dropout_rate
        self.expand = keras.layers.Dense(mlp_dim, dtype=self.dtype_policy, name="expand")
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Shape) -> None:
        """Makes both projections."""
        _, hidden_dim = check_tokens(type(self).__name__, input_shape)
        self.expand.build(input_shape)
        self.contract = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="contract")
        self.contract.build((*input_shape[:-1], self.mlp_dim))
        self.built = True

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Expands, bends and contracts."""
        _, count, hidden_dim = tokens.shape
        rows = ops.reshape(tokens, (-1, hidden_dim))  # one matrix product, forward and back, not one an image
        inside = keras.activations.gelu(self.expand(rows), approximate=_ACTIVATIONS[self.activation])
        return ops.reshape(self.contract(self.dropout(inside, training=training)), (-1, count, hidden_dim))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "mlp_dim": self.mlp_dim,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
        }
