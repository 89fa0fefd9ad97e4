"""One block of the encoder that computes attention and MLP side by side."""

import keras

from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="vit_keras")
class ParallelBlock(TransformerBlock):
    """Self-attention and an MLP that read the same normalized tokens; their sum is added to the tokens.

    Paper: Dehghani et al. 2023, arXiv 2302.05442, section 2. One norm and one layer scale serve both branches; with differential
    attention, one bias of the output projections, too, as in timm's `DiffParallelScalingBlock`.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        mlp_dim: Hidden width of the MLP.
        **kwargs: As for `TransformerBlock`; `TransformerBlock(..., parallel=True)` returns a `ParallelBlock`, too.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Example:
        >>> ParallelBlock(4, 256)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    parallel = True

    def call(
        self,
        tokens: Tensor,
        patch_indices: Tensor | None = None,
        attention_bias: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Adds both branches."""
        return tokens + self._attend_and_feed_forward(tokens, training, patch_indices, attention_bias)

    def _parallel_branches(
        self, tokens: Tensor, training: bool | None, patch_indices: Tensor | None, attention_bias: Tensor | None
    ) -> Tensor:
        normed = self.attention_norm(tokens, training=training)
        attended = self.attention(normed, patch_indices, attention_bias, training=training)
        return attended + self.mlp(normed, training=training)

    def _make_parts(self) -> None:
        self.attention_norm = self._make_norm("norm")
        self.attention = self._make_attention()
        self.mlp_norm = keras.layers.Identity(dtype=self.dtype_policy)
        self.mlp = self._make_mlp(output_bias=self.differential_lambda is None)
        self.scales = [self._make_scale("scale")]
        self.depths = [self._make_depth("depth")]
        self._attend_and_feed_forward = self._make_branch(self._parallel_branches, self.scales[0], self.depths[0])


TransformerBlock.parallel_class = ParallelBlock
# Keras writes class names into the paths of `.keras` files: those of parallel blocks start with `transformer_block`.
ParallelBlock.__name__ = TransformerBlock.__name__
