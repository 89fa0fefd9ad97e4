"""Names of jeonsworld's ViT-pytorch, which TransFG and others share. Compared with `models/modeling.py` (2022)."""

from vit_keras.weights.mappings.config_fields import HALF
from vit_keras.weights.mappings.layouts import CONV
from vit_keras.weights.mappings.tables import NO_ROTARY, Table, affine, dense, row, way

_B, _EMBEDDINGS, _LAYER = "block_{i}", "transformer.embeddings", "transformer.encoder.layer.{i}"

JEONSWORLD = Table(
    source="jeonsworld",
    title="jeonsworld's ViT-pytorch",
    signs=(
        r"transformer\.embeddings\.patch_embeddings\.weight",
        r"transformer\.encoder\.layer\.\d+\.attention_norm\.weight",
    ),
    rows=(
        *dense("patch_encoder/projection", f"{_EMBEDDINGS}.patch_embeddings", layout=CONV),
        row("patch_encoder/class_token", way(f"{_EMBEDDINGS}.cls_token")),
        row("patch_encoder/position_embedding", way(f"{_EMBEDDINGS}.position_embeddings")),
        *affine(f"{_B}/attention_norm", f"{_LAYER}.attention_norm"),
        *dense(f"{_B}/attention/qkv", tuple(f"{_LAYER}.attn.{name}" for name in ("query", "key", "value"))),
        *dense(f"{_B}/attention/output", f"{_LAYER}.attn.out"),
        *affine(f"{_B}/mlp_norm", f"{_LAYER}.ffn_norm"),
        *dense(f"{_B}/mlp/expand", f"{_LAYER}.ffn.fc1"),
        *dense(f"{_B}/mlp/contract", f"{_LAYER}.ffn.fc2"),
        *affine("final_norm", "transformer.encoder.encoder_norm"),
        *dense("head", "head"),
    ),
    refused=((r"transformer\.embeddings\.hybrid_model\..*", "a ResNet makes its patches"),),
    head_features=((r"transformer\.encoder\.encoder_norm\.weight", {"pooling": "token", "final_norm": "before"}),),
    convention={**HALF, "norm_epsilon": 1e-6, "activation": "gelu"},
    certain=NO_ROTARY,
)
