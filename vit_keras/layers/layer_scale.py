"""Scales a residual branch by learned factors."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor


@keras.saving.register_keras_serializable(package="vit_keras")
class LayerScale(BaseLayer):
    """The input times one learned factor per channel; small initial values let a deep model start near the identity.

    Paper: Touvron et al. 2021, arXiv 2103.17239, equation 3; our `gamma` is their lambda.

    Args:
        initial_value: Initial value of every factor.

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
        """Creates the factors."""
        constant = keras.initializers.Constant(self.initial_value)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=constant, name="gamma")
        self.built = True

    def call(self, tokens: Tensor) -> Tensor:
        """Scales every channel."""
        return tokens * ops.cast(self.gamma, tokens.dtype)
