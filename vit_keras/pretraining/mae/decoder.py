"""The decoder of a masked autoencoder: visible tokens and mask tokens become predictions of all patches."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.layers.base.checks import Shape, Tensor, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.layer_norm import LayerNorm
from vit_keras.layers.patch_encoder import sincos2d
from vit_keras.layers.transformer_block import TransformerBlock
from vit_keras.pretraining.mae.masking import take_tokens

MLP_RATIO = 4
"""Hidden width of the MLPs, as a multiple of the decoder's width."""


@keras.saving.register_keras_serializable(package="vit_keras")
class MaskedPatchDecoder(CompositeLayer):
    """Predicts the pixels of every patch from the tokens of the visible ones.

    Paper: He et al. 2022, arXiv 2111.06377, section 3, "MAE decoder". A learned mask token, the same everywhere, stands for each masked
    patch; positions are fixed sines and cosines, zero for prefix tokens. Blocks and norm are those of a Vision Transformer.

    Args:
        dim: Width of the decoder's tokens, divisible by 4.
        num_layers: Blocks.
        num_heads: Attention heads per block.
        patch_dim: Pixels of a patch times channels.
        grid_size: Rows and columns of patches.
        num_prefix_tokens: Tokens before those of the visible patches; they have no prediction.
        activation: Of the MLPs, as for `TransformerBlock`.
        qkv_bias: As for `TransformerBlock`.
        norm_epsilon: Added to the variance in every norm.
        remat: As for `TransformerBlock`.

    Shapes:
        tokens: `(batch, prefix + visible, hidden_dim)`, of the encoder.
        restore: `(batch, patches)`: where each patch is in [visible patches, masked patches].
        returns: `(batch, patches, patch_dim)`.

    Example:
        >>> decoder = MaskedPatchDecoder(32, num_layers=1, num_heads=1, patch_dim=48, grid_size=(2, 2))
        >>> decoder(keras.Input((1, 64)), keras.Input((4,), dtype="int32")).shape
        (None, 4, 48)
    """

    def __init__(
        self,
        dim: int,
        *,
        num_layers: int,
        num_heads: int,
        patch_dim: int,
        grid_size: tuple[int, int],
        num_prefix_tokens: int = 0,
        activation: str = "gelu",
        qkv_bias: str = "all",
        norm_epsilon: float = 1e-6,
        remat: str = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        sizes = {"dim": dim, "num_layers": num_layers, "num_heads": num_heads, "patch_dim": patch_dim}
        check_positive(type(self).__name__, **sizes)
        self.dim = dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.patch_dim = patch_dim
        self.grid_size = tuple(grid_size)
        self.num_prefix_tokens = num_prefix_tokens
        self.activation = activation
        self.qkv_bias = qkv_bias
        self.norm_epsilon = norm_epsilon
        self.remat = remat
        dtype = self.dtype_policy
        self.embed = keras.layers.Dense(dim, dtype=dtype, name="embed")
        self.blocks = [
            TransformerBlock(
                num_heads, MLP_RATIO * dim, activation=activation, qkv_bias=qkv_bias, norm_epsilon=norm_epsilon, remat=remat, dtype=dtype,
                name=f"block_{index:02d}",
            )
            for index in range(num_layers)
        ]  # fmt: skip
        self.norm = LayerNorm(epsilon=norm_epsilon, dtype=dtype, name="norm")
        self.predict_patches = keras.layers.Dense(patch_dim, dtype=dtype, name="predict")

    @property
    def num_patches(self) -> int:
        """Patches per image."""
        return math.prod(self.grid_size)

    def build(self, tokens_shape: Shape, restore_shape: Shape | None = None) -> None:
        """Builds the parts for tokens of this shape."""
        super().build(tokens_shape)

    def build_parts(self, input_shape: Shape) -> None:
        """Creates mask token and positions, and builds the layers."""
        check_tokens(type(self).__name__, input_shape)
        inside = (None, self.num_prefix_tokens + self.num_patches, self.dim)
        self.embed.build(input_shape)
        self.mask_token = self.add_weight(
            shape=(1, 1, self.dim), initializer=keras.initializers.RandomNormal(stddev=0.02), name="mask_token"
        )
        self.positions = self.add_weight(
            shape=(1, *inside[1:]), initializer=self._make_positions, trainable=False, autocast=False,
            name="position_embedding",
        )  # fmt: skip
        for layer in (*self.blocks, self.norm, self.predict_patches):
            layer.build(inside)

    def _make_positions(self, shape: Shape, dtype: str | None = None) -> Tensor:
        rows, columns = self.grid_size
        of_patches = sincos2d(rows, columns, self.dim, kind="sincos2d_mae")
        return ops.convert_to_tensor(np.pad(of_patches, ((self.num_prefix_tokens, 0), (0, 0)))[None], dtype)

    def call(self, tokens: Tensor, restore: Tensor, training: bool | None = None) -> Tensor:
        """Puts visible tokens and mask tokens in the order of the patches, and predicts all of them."""
        prefix = self.num_prefix_tokens
        tokens = self.embed(tokens)
        batch, num_masked = ops.shape(tokens)[0], self.num_patches + prefix - tokens.shape[1]
        masked = ops.broadcast_to(ops.cast(self.mask_token, tokens.dtype), (batch, num_masked, self.dim))
        patches = take_tokens(ops.concatenate([tokens[:, prefix:], masked], axis=1), restore)
        tokens = ops.concatenate([tokens[:, :prefix], patches], axis=1) if prefix else patches
        tokens = tokens + ops.cast(self.positions, tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens, training=training)
        return self.predict_patches(self.norm(tokens)[:, prefix:])

    def compute_output_shape(self, tokens_shape: Shape, restore_shape: Shape | None = None) -> Shape:
        """Returns `(batch, patches, patch_dim)`."""
        return (tokens_shape[0], self.num_patches, self.patch_dim)
