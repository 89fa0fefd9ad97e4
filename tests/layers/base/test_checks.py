"""What layers refuse: arguments when they are constructed, shapes when they are built."""

import re

import keras
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import (
    MLP,
    AttentionPooling,
    ConvStem,
    PatchEncoder,
    Patches,
    PatchIndices,
    PixelNormalization,
    RotaryEmbedding,
    SelfAttention,
    StochasticDepth,
    TokenPooling,
    TransformerBlock,
)

GRID = (2, 3)
ACTIVATIONS = "gelu, gelu_tanh, quick_gelu, silu"


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        *((lambda size=size: Patches(size), f"Patches needs positive integers, not patch_size={size!r}.") for size in (0, -4, 2.0, True, None)),
        *((lambda rate=rate: StochasticDepth(rate), f"StochasticDepth needs fractions in [0, 1), not rate={rate!r}.") for rate in (-0.1, 1, 1.0, True, float("nan"))),
        *((lambda patch=patch, dim=dim: ConvStem(patch, dim), f"patch_size={patch} must be a power of two, and half of it must divide hidden_dim={dim}.") for patch, dim in ((1, 8), (6, 8), (12, 24), (16, 4))),
        *((lambda pooling=pooling, count=count: TokenPooling(pooling, num_prefix_tokens=count), f"TokenPooling with num_prefix_tokens={count} does not know pooling='{pooling}'; choose one of ") for pooling, count in (("max", 1), ("token", 0), ("token_and_mean", 0), ("distillation", 1))),
        *((lambda std=std: PixelNormalization([0.5], std), f"PixelNormalization divides by std={std}, which must be positive.") for std in ([0.0], [0.5, -0.5, 0.5], [])),
        (lambda: ConvStem(0, 8), "ConvStem needs positive integers, not patch_size=0."),
        (lambda: PatchEncoder(0), "PatchEncoder needs positive integers, not hidden_dim=0."),
        (lambda: PatchEncoder(8, position_embedding="sine"), "PatchEncoder does not know position_embedding='sine'; choose one of learned, sincos2d, "),
        (lambda: PatchEncoder(8, dropout_rate=1.0), "PatchEncoder needs fractions in [0, 1), not dropout_rate=1.0."),
        (lambda: PatchEncoder(6, position_embedding="sincos2d"), 'position_embedding="sincos2d" needs a hidden_dim divisible by 4, not 6.'),
        (lambda: MLP(0), "MLP needs positive integers, not mlp_dim=0."),
        (lambda: MLP(16, activation="relu"), f"MLP does not know activation='relu'; choose one of {ACTIVATIONS}."),
        (lambda: MLP(16, dropout_rate=1.5), "MLP needs fractions in [0, 1), not dropout_rate=1.5."),
        (lambda: RotaryEmbedding("round", grid_size=GRID), "RotaryEmbedding does not know kind='round'; choose one of axial, mixed, centered."),
        (lambda: RotaryEmbedding("axial", grid_size=GRID, order="zx"), "RotaryEmbedding does not know order='zx'; choose one of yx, xy."),
        (lambda: SelfAttention(0), "SelfAttention needs positive integers, not num_heads=0."),
        (lambda: SelfAttention(2, qkv_bias="key"), "SelfAttention does not know qkv_bias='key'; choose one of all, "),
        (lambda: SelfAttention(2, dropout_rate=-0.1), "SelfAttention needs fractions in [0, 1), not dropout_rate=-0.1."),
        (lambda: AttentionPooling(0, 16), "AttentionPooling needs positive integers, not num_heads=0."),
        (lambda: AttentionPooling(2, 16, num_skipped_tokens=-1), "AttentionPooling needs num_skipped_tokens as an integer from 0, not -1."),
        (lambda: TransformerBlock(0, 16), "TransformerBlock needs positive integers, not num_heads=0."),
        (lambda: TransformerBlock(2, 16, remat="full"), "TransformerBlock does not know remat='full'; choose one of none, block."),
        (lambda: TransformerBlock(2, 16, remat="block", dropout_rate=0.1), 'TransformerBlock with remat="block" does not know dropout_rate=0.1; choose one of 0.'),
        (lambda: TransformerBlock(2, 16, remat="block", attention_dropout_rate=0.1), 'with remat="block" does not know attention_dropout_rate=0.1;'),
    ],
)  # fmt: skip
def test_refuses_arguments(construct, message):
    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        construct()


ATTENDING = [(SelfAttention, (3,)), (AttentionPooling, (3, 16)), (TransformerBlock, (3, 16))]


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        *((Patches(4), shape, "Patches takes images of shape (batch, height, width, channels), all but batch known; it got (None, ") for shape in ((8, 8), (8, None, 3), (None, None, 3))),
        (ConvStem(4, 8), (8, None, 3), "ConvStem takes images of shape (batch, height, width, channels), all but batch known; it got (None, 8, None, 3)."),
        (Patches(4, as_grid=True), (None, None, None), "Patches takes images of shape (batch, height, width, channels), with known channels; it got"),
        (PatchEncoder(8), (None, 8), "PatchEncoder got patches of shape (None, None, 8). For a number that is known only when images arrive, it needs a grid"),
        (PatchEncoder(8), (None, None, 8), "and grid_size, the rows and columns of its positions."),
        (PatchEncoder(8), (2, None, None), "PatchEncoder takes patches of shape (batch, rows, columns, patch_dim), with known patch_dim;"),
        (PatchIndices(), (6, 8), "PatchIndices takes patches of shape (batch, rows, columns, patch_dim)"),
        (Patches(4), (8, 9, 3), "Patches: images of 8x9 px can't be cut into patches of 4 px. Resize them to a multiple of 4"),
        (Patches(4), (9, 8, 3), "Patches: images of 9x8 px can't be cut into patches of 4 px."),
        (ConvStem(4, 8), (8, 10, 3), "ConvStem: images of 8x10 px can't be cut into patches of 4 px."),
        *((SelfAttention(2), shape, "SelfAttention takes tokens of shape (batch, tokens, hidden_dim), with known hidden_dim; it got (") for shape in ((8,), (5, None))),
        *((kind(*(2, *arguments[1:])), (8,), f"{kind.__name__} takes tokens of shape (batch, tokens, hidden_dim)") for kind, arguments in ATTENDING),
        *((layer, (8,), f"{type(layer).__name__} takes tokens of shape") for layer in (MLP(16), TokenPooling(), PatchEncoder(8))),
        *((kind(*arguments), (5, 8), f"{kind.__name__} has num_heads=3, which does not divide the tokens' width of 8.") for kind, arguments in ATTENDING),
        *((PatchEncoder(8, position_embedding="sincos2d", grid_size=grid), (6, 5), "6 patches don't fill a grid of 2 rows and 2 columns; give grid_size.") for grid in (None, (2, 2))),
        *((RotaryEmbedding("axial", grid_size=GRID), shape, "it needs at least the 6 patches of grid_size=(2, 3), and a head_dim divisible by 4.") for shape in ((5, 3, 8), (8, 3, 6))),
        (RotaryEmbedding("axial", grid_size=GRID), (8, 6), "RotaryEmbedding takes heads of shape (batch, tokens, num_heads, head_dim), with known num_heads and head_dim; it got (None, 8, 6)."),
        *((PixelNormalization(mean, std), (4, 4, 3), "Images have 3 channels, but mean=") for mean, std in (([0.5, 0.5], [0.5]), ([0.5], [0.5, 0.5]), ([0.5] * 3, [0.5] * 2))),
    ],
)  # fmt: skip
def test_refuses_shapes(layer, shape, message):
    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        layer(keras.Input(shape))
