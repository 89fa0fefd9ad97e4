"""Pools the tokens into one vector per image by attention."""

from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.base.grids import count_valid, valid_mask
from vit_keras.layers.layer_norm import NORMS
from vit_keras.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="vit_keras")
class AttentionPooling(CompositeLayer):
    """Attention of one learned query to the tokens, then a residual MLP.

    Paper: Zhai et al. 2022, arXiv 2106.04560, section 3.2 (multihead attention pooling, "MAP"). Our `probe` is the query
    before its projection.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        mlp_dim: Hidden width of the MLP.
        activation: The MLP's activation.
        norm: Kind of the norm: "layer" or "rms".
        norm_epsilon: Added to the variance in the norm.
        num_skipped_tokens: Leading tokens that are not attended to.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        patch_indices: `(batch, tokens, 2)`, as `PackedIndices` returns them, for packed images: padding is not attended to.
        returns: `(batch, hidden_dim)`.

    Example:
        >>> AttentionPooling(4, 256)(keras.Input((196, 64))).shape
        (None, 64)
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        *,
        activation: str = "gelu",
        norm: str = "layer",
        norm_epsilon: float = 1e-6,
        num_skipped_tokens: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, num_heads=num_heads, mlp_dim=mlp_dim)
        check_choice(type(self).__name__, choices=tuple(NORMS), norm=norm)
        if type(num_skipped_tokens) is not int or num_skipped_tokens < 0:
            raise InvalidArgumentError(
                f"{type(self).__name__} needs num_skipped_tokens as an integer from 0, not {num_skipped_tokens!r}."
            )
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.num_skipped_tokens = num_skipped_tokens
        self.mlp_norm = NORMS[norm](epsilon=norm_epsilon, dtype=self.dtype_policy, name="mlp_norm")
        self.mlp = MLP(mlp_dim, activation=activation, dtype=self.dtype_policy, name="mlp")

    def build_parts(self, input_shape: Shape) -> None:
        """Creates the probe and the projections."""
        _, hidden_dim = check_tokens(type(self).__name__, input_shape, num_heads=self.num_heads)
        pooled = (None, 1, hidden_dim)
        self.probe = self.add_weight(shape=(1, 1, hidden_dim), initializer="glorot_uniform", name="probe")
        self.query = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="query")
        self.query.build(pooled)
        # LeCun's limit for (d, 2d) is Glorot's for each of the two (d, d) in it.
        self.key_value = keras.layers.Dense(
            2 * hidden_dim, kernel_initializer="lecun_uniform", dtype=self.dtype_policy, name="key_value"
        )
        self.key_value.build(input_shape)
        self.output_projection = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="output")
        for part in (self.output_projection, self.mlp_norm, self.mlp):
            part.build(pooled)

    def call(self, tokens: Tensor, patch_indices: Tensor | None = None) -> Tensor:
        """Attends, then adds the MLP."""
        num_valid = count_valid(patch_indices)
        tokens = tokens[:, self.num_skipped_tokens :]
        _, count, hidden_dim = ops.shape(tokens)
        heads, head_dim = self.num_heads, hidden_dim // self.num_heads
        queries = ops.reshape(self.query(ops.cast(self.probe, tokens.dtype)), (1, 1, heads, head_dim))
        queries = ops.broadcast_to(queries, (ops.shape(tokens)[0], 1, heads, head_dim))
        key_value = ops.reshape(self.key_value(tokens), (-1, count, 2, heads, head_dim))
        mask = None if num_valid is None else valid_mask(num_valid - self.num_skipped_tokens, count)[:, None, None]
        attended = ops.dot_product_attention(queries, key_value[:, :, 0], key_value[:, :, 1], mask=mask)
        attended = self.output_projection(ops.reshape(attended, (-1, 1, hidden_dim)))
        return (attended + self.mlp(self.mlp_norm(attended)))[:, 0]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, hidden_dim)`."""
        return (input_shape[0], input_shape[-1])
