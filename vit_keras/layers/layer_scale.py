"""Scales a residual branch."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Shape, Tensor


@keras.saving.register_keras_serializable(package="vit_keras")
class LayerScale(keras.layers.Layer):
    """The input times one learned number a channel, small at first, so that a deep model starts near the identity.

    Paper: Touvron et al. 2021, arXiv 2103.17239, equation 3; our `gamma` is their lambda.

    Args:
        initial_value: What every number starts as.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Example:
        >>> LayerScale(1e-5)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(self, initial_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape: Shape) -> None:
        """Makes the scale."""
        self.gamma = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.initial_value), name="gamma"
        )
        self.built = True

    def call(self, tokens: Tensor) -> Tensor:
        """Scales every channel."""
        return tokens * ops.cast(self.gamma, tokens.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "initial_value": self.initial_value}
