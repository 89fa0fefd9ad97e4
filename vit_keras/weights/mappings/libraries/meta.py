"""Meta's and OpenAI's names, after their pickles are converted to safetensors: DINO, DeiT, MAE, DINOv2, DINOv3, CLIP, Perception Encoder.

All but the last two share timm's names, which are derived from DeiT's; the differing ones are renamed. Compared with the repositories'
`vision_transformer.py`, `models_mae.py`, `models_v2.py` and `clip/model.py`, and with timm's conversions.
"""

from dataclasses import replace

from vit_keras.weights.mappings.config_fields import CLIP, HALF, IMAGENET
from vit_keras.weights.mappings.layouts import CONV, LINEAR, SAME, TABLE, VECTOR
from vit_keras.weights.mappings.libraries.timm import HEAD_FEATURES, PROJECTION_HEADS, ROPES, ROWS, UNTOLD
from vit_keras.weights.mappings.tables import GAP, NO_ROTARY, Row, Table, affine, dense, row, way

_SIGNS = (r"patch_embed\.proj\.weight", r"blocks\.\d+\.(?:\d+\.)?norm1\.weight")

META = Table(
    source="meta",
    title="Meta's DINOv2, DINOv3 or MAE",
    signs=(
        *_SIGNS,
        r"mask_token|register_tokens|storage_tokens|decoder_embed\.weight|blocks\.\d+\.mlp\.w\d+\.weight",
    ),
    renames=(
        (
            r"^blocks\.\d+\.(\d+)\.",
            r"blocks.\1.",
        ),  # in training, DINOv2 groups its blocks; the second number counts them all
        (r"^(?:register_tokens|storage_tokens)$", "reg_token"),
        (r"^(blocks\.\d+\.mlp)\.w12\.", r"\1.fc1."),
        (r"^(blocks\.\d+\.mlp)\.w1\.", r"\1.fc1_g."),
        (r"^(blocks\.\d+\.mlp)\.w2\.", r"\1.fc1_x."),
        (r"^(blocks\.\d+\.mlp)\.w3\.", r"\1.fc2."),
    ),
    rows=(
        *ROWS,
        # DINOv3 has biases of keys that a mask holds at zero.
        row(("block_{i}/attention/query_bias", GAP, "block_{i}/attention/value_bias"), way("blocks.{i}.attn.qkv.bias")),
    ),
    ignored=(
        (r"mask_token", "only for training with masks"),
        (r"decoder_.*", "decoder of masked patches"),
        (r"rope_embed\.periods", "constant"),
        (r"blocks\.\d+\.attn\.qkv\.bias_mask", "constant that holds the keys' biases at zero"),
        (r"local_cls_norm\..*", "only for training with crops"),
        (r"(?:dino_head|ibot_head|projectors)\..*", "only for training"),
        *PROJECTION_HEADS,
    ),
    zeros=(r"blocks\.\d+\.attn\.qkv\.bias",),
    head_features=HEAD_FEATURES,
    convention=IMAGENET,
    certain=ROPES,
    untold=UNTOLD,
)

EVA_02 = replace(
    META,
    title="BAAI's EVA-02 or EVA-CLIP",
    signs=(*_SIGNS, r"blocks\.\d+\.attn\.q_bias", r"blocks\.\d+\.mlp\.w\d+\.weight"),
    renames=(
        *META.renames,
        (r"^(blocks\.\d+\.mlp)\.ffn_ln\.", r"\1.norm."),
        (r"^(blocks\.\d+\.attn)\.inner_attn_ln\.", r"\1.norm."),
    ),
    ignored=(
        *META.ignored,
        (r"(?:.*\.)?rope\.freqs_(?:cos|sin)", "constant"),
        (r"lm_head\..*", "only for training with masks"),
    ),
    convention=CLIP,
)
META_PLAIN = replace(META, title="Meta's DeiT, DeiT-III or DINO", signs=_SIGNS)
META_TRAINING = replace(
    META_PLAIN,
    title="a training checkpoint of Meta's DINO or I-JEPA",
    prefixes=r"(?:.*\.)?(?:(?:student|teacher)\.(?:.*\.)?backbone|target_encoder)\.",
)
META_MOCO = replace(
    META_PLAIN,
    title="a training checkpoint of Meta's MoCo v3",
    prefixes=r"(?:.*\.)?(?:base_encoder|momentum_encoder)\.",
    convention={**IMAGENET, "num_heads": 12},  # of its ViT-S, too
)

_B = "block_{i}"


def _clip_rows(prefix: str) -> tuple[Row, ...]:
    """Returns the rows of CLIP's and Perception Encoder's image tower, whose names begin with `prefix`."""
    block, pool = f"{prefix}transformer.resblocks.{{i}}", f"{prefix}attn_pool"
    return (
        row("patch_encoder/projection/kernel", way(f"{prefix}conv1.weight", layout=CONV)),
        row("patch_encoder/class_token", way(f"{prefix}class_embedding", layout=VECTOR)),
        row("patch_encoder/position_embedding", way(f"{prefix}positional_embedding", layout=TABLE)),
        *affine("stem_norm", f"{prefix}ln_pre"),
        *affine(f"{_B}/attention_norm", f"{block}.ln_1"),
        row(f"{_B}/attention/qkv/kernel", way(f"{block}.attn.in_proj_weight", layout=LINEAR)),
        row(f"{_B}/attention/qkv/bias", way(f"{block}.attn.in_proj_bias")),
        *dense(f"{_B}/attention/output", f"{block}.attn.out_proj"),
        row(f"{_B}/attention_scale/gamma", way(f"{block}.ls_1.gamma")),
        *affine(f"{_B}/mlp_norm", f"{block}.ln_2"),
        *dense(f"{_B}/mlp/expand", f"{block}.mlp.c_fc"),
        *dense(f"{_B}/mlp/contract", f"{block}.mlp.c_proj"),
        row(f"{_B}/mlp_scale/gamma", way(f"{block}.ls_2.gamma")),
        *affine("final_norm", f"{prefix}ln_post"),
        row("pooling/probe", way(f"{pool}.probe")),
        row(("pooling/query/kernel", "pooling/key_value/kernel"), way(f"{pool}.attn.in_proj_weight", layout=LINEAR)),
        row(("pooling/query/bias", "pooling/key_value/bias"), way(f"{pool}.attn.in_proj_bias")),
        *dense("pooling/output", f"{pool}.attn.out_proj"),
        *affine("pooling/mlp_norm", f"{pool}.layernorm"),
        *dense("pooling/mlp/expand", f"{pool}.mlp.c_fc"),
        *dense("pooling/mlp/contract", f"{pool}.mlp.c_proj"),
        row("head/kernel", way(f"{prefix}proj", layout=SAME)),
        row("head/bias", way()),
    )


OPENAI_CLIP = Table(
    source="meta",
    title="the CLIP of OpenAI or OpenCLIP",
    signs=(r"visual\.conv1\.weight", r"visual\.transformer\.resblocks\.\d+\.ln_1\.weight"),
    rows=_clip_rows("visual."),
    ignored=(
        (r"(?!visual\.).*", "text tower"),
        (r"visual\.(?:input_resolution|context_length|vocab_size)", "a setting"),
    ),
    head_features=(
        (r"visual\.proj", {"pooling": "token"}),
        (r"(?:visual\.)?input_resolution", {"activation": "quick_gelu"}),  # in OpenAI's own files
    ),
    convention={**CLIP, "norm_epsilon": 1e-5},
    certain=NO_ROTARY,
)

_PERCEPTION = {**HALF, "norm_epsilon": 1e-5, "activation": "gelu"}
_ROTARY_XY = ((".*", {"rotary_embedding": "axial", "rotary_order": "xy"}),)

PERCEPTION_CORE = replace(
    OPENAI_CLIP,
    title="Meta's Perception Encoder Core",
    signs=(*OPENAI_CLIP.signs, r"visual\.attn_pool\.probe"),
    ignored=OPENAI_CLIP.ignored[:1],
    head_features=((r"visual\.ln_post\.weight", {"pooling": "map", "final_norm": "before"}),),
    convention=_PERCEPTION,
    certain=_ROTARY_XY,
)
PERCEPTION = Table(
    source="meta",
    title="Meta's Perception Encoder Lang or Spatial",
    signs=(r"conv1\.weight", r"transformer\.resblocks\.\d+\.ln_1\.weight"),
    rows=_clip_rows(""),
    head_features=((r"ln_post\.weight", {"final_norm": "before"}),),
    convention=_PERCEPTION,
    certain=_ROTARY_XY,
    prefixes=r"(?!(?:.*\.)?visual\.$).*",  # below it are the tables above
)
