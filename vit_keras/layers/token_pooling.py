"""One vector of all tokens, without weights."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.checks import Shape, Tensor, check_choice, check_tokens


@keras.saving.register_keras_serializable(package="vit_keras")
class TokenPooling(keras.layers.Layer):
    """The class token, the mean of the patch tokens, or both side by side.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, equation 4 ("token") and appendix D.3 ("mean").

    Args:
        pooling: "token", "mean" or "token_and_mean".
        class_token: Whether the first token is the class token; the mean leaves it out.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: `(batch, hidden_dim)`, twice as wide for "token_and_mean".

    Raises:
        InvalidArgumentError: `pooling` is none of these, or asks for a token that is not there.

    Example:
        >>> TokenPooling("mean")(keras.Input((197, 64))).shape
        (None, 64)
    """

    def __init__(self, pooling: str = "token", *, class_token: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        choices = ("token", "mean", "token_and_mean") if class_token else ("mean",)
        check_choice(f"TokenPooling with class_token={class_token}", choices=choices, pooling=pooling)
        self.pooling = pooling
        self.class_token = class_token

    def build(self, input_shape: Shape) -> None:
        """Checks the tokens' shape."""
        check_tokens(type(self).__name__, input_shape)
        self.built = True

    def call(self, tokens: Tensor) -> Tensor:
        """Picks, averages or does both."""
        mean = ops.mean(tokens[:, int(self.class_token) :], axis=1)
        if self.pooling == "mean":
            return mean
        return tokens[:, 0] if self.pooling == "token" else ops.concatenate([tokens[:, 0], mean], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, width of the features)`."""
        batch, _, hidden_dim = input_shape
        return (batch, hidden_dim * (2 if self.pooling == "token_and_mean" else 1))  # type: ignore[operator]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "pooling": self.pooling, "class_token": self.class_token}
