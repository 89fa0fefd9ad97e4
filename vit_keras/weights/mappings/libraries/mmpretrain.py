"""MMPretrain's names, in its `VisionTransformer`, and those of mmcls before it. Compared with version 1.2, `models/backbones/vision_transformer.py`."""

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.layouts import CONV, LINEAR
from vit_keras.weights.mappings.tables import NO_ROTARY, Table, affine, dense, row, unless, way

_B, _LAYER = "block_{i}", "layers.{i}"


def _is_normed_first(config: ViTConfig) -> bool:
    return config.final_norm == "before"


MMPRETRAIN = Table(
    source="mmpretrain",
    title="MMPretrain's VisionTransformer",
    signs=(r"patch_embed\.projection\.weight", r"layers\.\d+\.ffn\.layers\.0\.0\.weight"),
    rows=(
        *dense("patch_encoder/projection", "patch_embed.projection", layout=CONV),
        row("patch_encoder/class_token", way("cls_token")),
        row("patch_encoder/distillation_token", way("dist_token")),
        row("patch_encoder/position_embedding", way("pos_embed")),
        *affine("stem_norm", "pre_norm"),
        *affine(f"{_B}/attention_norm", f"{_LAYER}.ln1"),
        row(f"{_B}/attention/qkv/kernel", way(f"{_LAYER}.attn.qkv.weight", layout=LINEAR)),
        row(f"{_B}/attention/qkv/bias", way(f"{_LAYER}.attn.qkv.bias")),
        *dense(f"{_B}/attention/output", f"{_LAYER}.attn.proj"),
        row(f"{_B}/attention_scale/gamma", way(f"{_LAYER}.attn.gamma1.weight")),
        *affine(f"{_B}/mlp_norm", f"{_LAYER}.ln2"),
        *dense(f"{_B}/mlp/expand", f"{_LAYER}.ffn.layers.0.0"),
        *dense(f"{_B}/mlp/contract", f"{_LAYER}.ffn.layers.1"),
        row(f"{_B}/mlp_scale/gamma", way(f"{_LAYER}.ffn.gamma2.weight")),
        *affine("final_norm", "ln1", "ln2", when=_is_normed_first),
        *dense("pre_logits", "head.layers.pre_logits"),
        *dense("head", "head.layers.head", "head.fc", whens=(_is_normed_first, unless(_is_normed_first))),
        *dense("head_distillation", "head.layers.head_dist"),
    ),
    refused=((r"layers\.\d+\.ffn\.w12\..*", "the gate of its MLP has another order"),),
    head_features=(
        (r"ln1\.weight", {"pooling": "token", "final_norm": "before"}),
        (r"ln2\.weight", {"pooling": "mean", "final_norm": "after"}),
    ),
    convention={"norm_epsilon": 1e-6, "activation": "gelu"},
    certain=NO_ROTARY,
)
