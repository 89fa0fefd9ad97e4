"""The layers of a Vision Transformer, one tensor operation each.

Shapes, in every docstring of this package: `batch`, the number of images; `height`, `width` (px) and `channels` of an image; `patches =
height * width / patch_size**2`; `tokens`, prefix tokens (class, distillation, registers) and patches; `hidden_dim`, the width of
a token. Images are channels last. Layers raise `InvalidArgumentError` for an argument out of its range, and for inputs whose
shape they do not take.
"""

import keras as keras  # before the modules inside, which register with it: see `vit_keras.registration`

from vit_keras.layers.attention_pooling import AttentionPooling
from vit_keras.layers.conv_stem import ConvStem
from vit_keras.layers.differential_attention import DifferentialAttention
from vit_keras.layers.layer_norm import LayerNorm, RMSNorm
from vit_keras.layers.layer_scale import LayerScale
from vit_keras.layers.mlp import MLP
from vit_keras.layers.parallel_block import ParallelBlock
from vit_keras.layers.patch_encoder import PatchEncoder
from vit_keras.layers.patches import PackedIndices, PackedPatches, Patches, PatchGrid
from vit_keras.layers.pixel_normalization import PixelNormalization
from vit_keras.layers.positions.relative_position_bias import RelativePositionBias
from vit_keras.layers.positions.rotary_embedding import PatchIndices, RotaryEmbedding
from vit_keras.layers.self_attention import SelfAttention
from vit_keras.layers.stochastic_depth import StochasticDepth
from vit_keras.layers.token_pooling import TokenPooling
from vit_keras.layers.transformer_block import TransformerBlock
from vit_keras.registration import register_with_keras

__all__ = [
    "MLP",
    "AttentionPooling",
    "ConvStem",
    "DifferentialAttention",
    "LayerNorm",
    "LayerScale",
    "PackedIndices",
    "PackedPatches",
    "ParallelBlock",
    "PatchEncoder",
    "PatchGrid",
    "PatchIndices",
    "Patches",
    "PixelNormalization",
    "RMSNorm",
    "RelativePositionBias",
    "RotaryEmbedding",
    "SelfAttention",
    "StochasticDepth",
    "TokenPooling",
    "TransformerBlock",
]

register_with_keras()  # what was left out when Keras was imported above
