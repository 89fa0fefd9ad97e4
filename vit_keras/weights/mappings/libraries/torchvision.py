"""torchvision's names, in its `VisionTransformer`. Compared with torchvision 0.29, `models/vision_transformer.py`."""

from vit_keras.weights.mappings.config_fields import IMAGENET
from vit_keras.weights.mappings.layouts import CONV, LINEAR
from vit_keras.weights.mappings.tables import NO_ROTARY, Table, affine, dense, row, way

_B, _BLOCK = "block_{i}", "encoder.layers.encoder_layer_{i}"

TORCHVISION = Table(
    source="torchvision",
    title="torchvision's VisionTransformer",
    signs=(r"conv_proj\.weight", r"encoder\.layers\.encoder_layer_\d+\.ln_1\.weight"),
    # In files of its first versions.
    renames=((r"(\.mlp)\.linear_1\.", r"\1.0."), (r"(\.mlp)\.linear_2\.", r"\1.3.")),
    rows=(
        *dense("patch_encoder/projection", "conv_proj", layout=CONV),
        row("patch_encoder/class_token", way("class_token")),
        row("patch_encoder/position_embedding", way("encoder.pos_embedding")),
        *affine(f"{_B}/attention_norm", f"{_BLOCK}.ln_1"),
        row(f"{_B}/attention/qkv/kernel", way(f"{_BLOCK}.self_attention.in_proj_weight", layout=LINEAR)),
        row(f"{_B}/attention/qkv/bias", way(f"{_BLOCK}.self_attention.in_proj_bias")),
        *dense(f"{_B}/attention/output", f"{_BLOCK}.self_attention.out_proj"),
        *affine(f"{_B}/mlp_norm", f"{_BLOCK}.ln_2"),
        *dense(f"{_B}/mlp/expand", f"{_BLOCK}.mlp.0"),
        *dense(f"{_B}/mlp/contract", f"{_BLOCK}.mlp.3"),
        *affine("final_norm", "encoder.ln"),
        *dense("pre_logits", "heads.pre_logits"),
        *dense("head", "heads.head"),
    ),
    head_features=((r"encoder\.ln\.weight", {"pooling": "token", "final_norm": "before"}),),
    convention={**IMAGENET, "norm_epsilon": 1e-6, "activation": "gelu"},
    certain=NO_ROTARY,
)
