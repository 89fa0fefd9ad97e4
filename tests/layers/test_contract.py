"""Every layer fulfills the contract of `tests/contracts.py`."""

import keras
import pytest
from contracts import check_layer

from vit_keras.layers import (
    MLP,
    AttentionPooling,
    ConvStem,
    LayerNorm,
    LayerScale,
    PackedPatches,
    ParallelBlock,
    PatchEncoder,
    Patches,
    PatchGrid,
    PixelNormalization,
    RMSNorm,
    RotaryEmbedding,
    SelfAttention,
    StochasticDepth,
    TokenPooling,
    TransformerBlock,
)

IMAGES, PATCHES, TOKENS, HEADS = (2, 8, 8, 3), (2, 6, 5), (2, 5, 8), (2, 8, 3, 8)
GRID = (2, 3)
SQUARE = {"grid_size": [2, 2], "order": "yx", "reference": None}
OFFSETS = {"grid_size": [2, 2], "num_prefix_tokens": 1, "hidden_dim": 4}
EVERYTHING = {
    "activation": "gelu_tanh", "norm_epsilon": 1e-5, "layer_scale": 0.1, "dropout_rate": 0.1, "attention_dropout_rate": 0.1,
    "stochastic_depth_rate": 0.1,
}  # fmt: skip
MODERN = {
    "qkv_bias": "query_value", "qk_norm": True, "gated_mlp": True, "mlp_inner_norm": True, "attention_inner_norm": True,
    "activation": "silu",
    "rotary": {**SQUARE, "kind": "centered", "temperature": 100.0},
}  # fmt: skip
LAYERS = [
    (PixelNormalization([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), IMAGES),
    (Patches(4), IMAGES),
    (Patches(3, as_grid=True, partial_patches="crop"), IMAGES),
    (PackedPatches(), (2, 6, 18, 3)),
    (PatchGrid(num_prefix_tokens=2, grid_size=GRID), (2, 8, 8)),
    (ConvStem(4, 8), IMAGES),
    (PatchEncoder(8, dropout_rate=0.1, use_bias=False, distillation_token=True, num_registers=2), PATCHES),
    (PatchEncoder(8, position_embedding="sincos2d", grid_size=GRID), PATCHES),
    (PatchEncoder(8, num_registers=1, grid_size=GRID), (2, 3, 4, 5)),
    (RotaryEmbedding("mixed", grid_size=GRID, temperature=10.0, order="xy"), HEADS),
    (LayerNorm(epsilon=1e-2), TOKENS),
    (RMSNorm(epsilon=1e-2), TOKENS),
    (LayerScale(0.1), TOKENS),
    (StochasticDepth(0.2, seed=3), (8, 5, 8)),
    (MLP(16, activation="gelu_tanh", dropout_rate=0.1), TOKENS),
    (MLP(16, activation="silu", gated=True, inner_norm=True, norm_epsilon=1e-5), TOKENS),
    (SelfAttention(2, relative_position={**OFFSETS, "kind": "table"}), TOKENS),
    (SelfAttention(2, qkv_bias="none", qk_norm=True, norm_epsilon=1e-3, rotary={**SQUARE, "kind": "mixed", "temperature": 10.0}), TOKENS),
    (TransformerBlock(2, 16, **EVERYTHING), TOKENS),
    (TransformerBlock(2, 16, remat="block"), TOKENS),
    (TransformerBlock(2, 16, differential_lambda=0.3), TOKENS),
    (ParallelBlock(2, 16, layer_scale=0.1, qk_norm=True, stochastic_depth_rate=0.1), TOKENS),
    (TokenPooling("token_and_mean"), TOKENS),
    (AttentionPooling(2, 16, activation="gelu_tanh", norm_epsilon=1e-5, num_skipped_tokens=2), TOKENS),
]  # fmt: skip
# Other arguments of the same layers, whose operations tests of the model compare with numpy on every backend.
VARIANTS = [
    (Patches(3, as_grid=True), IMAGES),
    (Patches(3, partial_patches="crop"), IMAGES),
    (ConvStem(4, 8, as_grid=True), (2, 7, 5, 3)),
    (PatchEncoder(8, position_embedding="sincos2d", grid_size=GRID), (2, 3, 4, 5)),
    (PatchEncoder(8, num_registers=2, position_on_prefix=False, position_resize="bicubic_offset", patch_resize="bilinear"), PATCHES),
    (RotaryEmbedding("axial", grid_size=GRID, temperature=1e4, reference=(16, 16), offset=1.0), HEADS),
    (RotaryEmbedding("centered", grid_size=GRID), HEADS),
    (PatchEncoder(8, patch_norm="rms", norm_epsilon=1e-2), PATCHES),
    (StochasticDepth(0.0), TOKENS),
    (MLP(16, inner_norm=True, norm="rms", use_bias=False), TOKENS),
    (SelfAttention(2, norm="rms", qk_norm=True, output_bias=False), TOKENS),
    (SelfAttention(2, relative_position={**OFFSETS, "kind": "mlp"}), TOKENS),
    (SelfAttention(2, dropout_rate=0.1, qkv_bias="query_value"), TOKENS),
    (TransformerBlock(2, 16, **MODERN), TOKENS),
    (TransformerBlock(2, 16, norm="rms", projection_bias=False, gated_mlp=True, mlp_inner_norm=True, qk_norm=True), TOKENS),
    (TransformerBlock(2, 16, block_norm="after", layer_scale=0.1, relative_position={**OFFSETS, "kind": "table"}), TOKENS),
    (TokenPooling("mean", num_prefix_tokens=3), TOKENS),
    (TokenPooling("distillation", num_prefix_tokens=2), TOKENS),
    (AttentionPooling(2, 16, norm="rms"), TOKENS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "shape"),
    LAYERS + (VARIANTS if keras.backend.backend() == "tensorflow" else []),
    ids=lambda value: str(value) if isinstance(value, tuple) else type(value).__name__,
)
def test_contract(layer, shape, tmp_path):
    check_layer(layer, shape, tmp_path)
