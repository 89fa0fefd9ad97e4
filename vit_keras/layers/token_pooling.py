"""Pools the tokens into one vector per image, without weights."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_tokens
from vit_keras.layers.base.grids import count_valid, valid_mask


@keras.saving.register_keras_serializable(package="vit_keras")
class TokenPooling(BaseLayer):
    """The class token, the distillation token, the mean of the patch tokens, or class token and mean concatenated.

    Papers: Dosovitskiy et al. 2021, arXiv 2010.11929, equation 4 ("token") and appendix D.3 ("mean"); Touvron et al. 2021,
    arXiv 2012.12877 ("distillation"); Oquab et al. 2024, arXiv 2304.07193 ("token_and_mean").

    Args:
        pooling: "token", "distillation", "mean" or "token_and_mean".
        num_prefix_tokens: Tokens before the patch tokens, the class token first; the mean leaves them out.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        patch_indices: `(batch, tokens, 2)`, as `PackedIndices` returns them, for packed images: the mean leaves out padding.
        returns: `(batch, hidden_dim)`, or `(batch, 2 * hidden_dim)` for "token_and_mean".

    Raises:
        InvalidArgumentError: `pooling` is unknown, or needs a token that does not exist.

    Example:
        >>> TokenPooling("mean")(keras.Input((197, 64))).shape
        (None, 64)
    """

    def __init__(self, pooling: str = "token", *, num_prefix_tokens: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        choices: tuple[str, ...] = ("mean",)
        if num_prefix_tokens > 0:
            choices += ("token", "token_and_mean")
        if num_prefix_tokens > 1:
            choices += ("distillation",)
        check_choice(f"TokenPooling with num_prefix_tokens={num_prefix_tokens}", choices=choices, pooling=pooling)
        self.pooling = pooling
        self.num_prefix_tokens = num_prefix_tokens

    def build(self, input_shape: Shape) -> None:
        """Checks the tokens' shape."""
        check_tokens(type(self).__name__, input_shape)
        self.built = True

    def call(self, tokens: Tensor, patch_indices: Tensor | None = None) -> Tensor:
        """Pools the tokens."""
        if self.pooling == "token":
            return tokens[:, 0]
        if self.pooling == "distillation":
            return tokens[:, 1]
        patches, num_valid = tokens[:, self.num_prefix_tokens :], count_valid(patch_indices)
        mean = (
            ops.mean(patches, axis=1)
            if num_valid is None
            else _mean_of_first(patches, num_valid - self.num_prefix_tokens)
        )
        return mean if self.pooling == "mean" else ops.concatenate([tokens[:, 0], mean], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, feature_dim)`."""
        batch, _, hidden_dim = input_shape
        return (batch, hidden_dim * (2 if self.pooling == "token_and_mean" else 1))  # type: ignore[operator]


def _mean_of_first(tokens: Tensor, counts: Tensor) -> Tensor:
    """Returns the mean of the first tokens of each image, in float32 before the cast to the tokens' dtype; `counts` is `(batch,)`."""
    mask = ops.cast(valid_mask(counts, tokens.shape[1]), "float32")[..., None]
    total = ops.sum(ops.cast(tokens, "float32") * mask, axis=1)
    return ops.cast(total / ops.cast(counts, "float32")[:, None], tokens.dtype)
