"""Names of BEiT-3 in Microsoft's files, which torchscale's multiway encoder has. timm's files of it have timm's names.

Compared with `modeling_utils.py` and `modeling_finetune.py` of unilm's `beit3`, and with `_convert_beit3` of timm 1.0.31. Branch A is for
images, branch B for texts.
"""

from vit_keras.weights.mappings.config_fields import IMAGENET
from vit_keras.weights.mappings.layouts import AFTER_TWO, CONV
from vit_keras.weights.mappings.tables import NO_ROTARY, Table, affine, dense, row, way

_B, _LAYER = "block_{i}", "encoder.layers.{i}"

BEIT3 = Table(
    source="microsoft",
    title="Microsoft's BEiT-3",
    signs=(r"vision_embed\.proj\.weight", r"encoder\.layers\.\d+\.self_attn\.q_proj\.A\.weight"),
    rows=(
        *dense("patch_encoder/projection", "vision_embed.proj", layout=CONV),
        row("patch_encoder/class_token", way("vision_embed.cls_token")),
        row("patch_encoder/position_embedding", way("encoder.embed_positions.A.weight", layout=AFTER_TWO)),
        *affine(f"{_B}/attention_norm", f"{_LAYER}.self_attn_layer_norm.A"),
        *dense(f"{_B}/attention/qkv", tuple(f"{_LAYER}.self_attn.{name}_proj.A" for name in "qkv")),
        *affine(f"{_B}/attention/inner_norm", f"{_LAYER}.self_attn.inner_attn_ln.A"),
        *dense(f"{_B}/attention/output", f"{_LAYER}.self_attn.out_proj.A"),
        *affine(f"{_B}/mlp_norm", f"{_LAYER}.final_layer_norm.A"),
        *dense(f"{_B}/mlp/expand", f"{_LAYER}.ffn.A.fc1"),
        *affine(f"{_B}/mlp/inner_norm", f"{_LAYER}.ffn.A.ffn_layernorm"),
        *dense(f"{_B}/mlp/contract", f"{_LAYER}.ffn.A.fc2"),
        *affine("final_norm", "fc_norm", "encoder.layer_norm.A", when=lambda config: config.final_norm == "after"),
        *dense("head", "head"),
    ),
    ignored=(
        (r"text_embed\..*|.*\.B\..*", "texts"),
        (r"vision_embed\.mask_token|(?:mim|mlm|mvlm)_head\..*", "only for training with masks"),
    ),
    head_features=(
        (r"encoder\.layer_norm\.A\.weight", {"final_norm": "before"}),
        (r"fc_norm\.weight", {"pooling": "mean", "final_norm": "after"}),
    ),
    convention={**IMAGENET, "norm_epsilon": 1e-5, "activation": "gelu"},
    certain=NO_ROTARY,
)
