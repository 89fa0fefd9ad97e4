"""Hugging Face's names, as transformers writes them to files: the names of version 4, which version 5 keeps in files.

In memory version 5 renames many; each table's renames map those and the models' prefixes to the names in files. Compared with
transformers 5.23, `conversion_mapping.py` and the `modeling_*.py` of each model.
"""

from operator import attrgetter

from vit_keras.weights.mappings.config_fields import CLIP, HALF, IMAGENET
from vit_keras.weights.mappings.layouts import CONV, LINEAR, TABLE, VECTOR
from vit_keras.weights.mappings.tables import Row, Table, When, affine, dense, never, row, unless, way

_B = "block_{i}"
_TEXT = (
    (r"text_model\..*|text_projection\.weight|logit_scale|logit_bias", "text tower"),
    (r"embeddings\.position_ids", "indices of the positions"),
)
_MASK = ((r"embeddings\.mask_token", "only for training with masks"),)
_IS_GATED: When = attrgetter("gated_mlp")
_BY_GATE = (unless(_IS_GATED), _IS_GATED)
_HAS_TWO_HEADS: When = attrgetter("has_two_heads")


def _qkv(query: str, key: str, value: str) -> tuple[Row, ...]:
    """Returns the rows of separate queries, keys and values, whichever have biases."""
    return (
        *dense(f"{_B}/attention/qkv", (query, key, value)),
        row(f"{_B}/attention/query_bias", way(f"{query}.bias")),
        row(f"{_B}/attention/value_bias", way(f"{value}.bias")),
    )


_V5_ATTENTION = tuple(
    (rf"^(encoder\.layer\.\d+\.attention)\.{new}\.", rf"\1.{old}.")
    for new, old in (
        ("q_proj", "attention.query"), ("k_proj", "attention.key"), ("v_proj", "attention.value"), ("o_proj", "output.dense"),
    )
)  # fmt: skip
_LAYER = "encoder.layer.{i}"
_EMBEDDINGS: tuple[Row, ...] = (
    *dense("patch_encoder/projection", "embeddings.patch_embeddings.projection", layout=CONV),
    row("patch_encoder/class_token", way("embeddings.cls_token")),
    row("patch_encoder/distillation_token", way("embeddings.distillation_token")),
    row("patch_encoder/registers", way("embeddings.register_tokens")),
    row("patch_encoder/position_embedding", way("embeddings.position_embeddings")),
)
_ATTENTION: tuple[Row, ...] = (
    *_qkv(*(f"{_LAYER}.attention.attention.{name}" for name in ("query", "key", "value"))),
    *dense(f"{_B}/attention/output", f"{_LAYER}.attention.output.dense"),
)

HF_VIT = Table(
    source="huggingface",
    title="transformers' ViT, DeiT, ViTMAE, ViTMSN or IJepa",
    signs=(r"(?:encoder\.layer|layers)\.\d+\.layernorm_before\.weight",),
    renames=(
        (r"^(?:vit|deit|ijepa)\.", ""),
        (r"^layers\.", "encoder.layer."),
        *_V5_ATTENTION,
        (r"^(encoder\.layer\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
        (r"^(encoder\.layer\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
    ),
    rows=(
        *_EMBEDDINGS,
        *_ATTENTION,
        *affine(f"{_B}/attention_norm", f"{_LAYER}.layernorm_before"),
        *affine(f"{_B}/mlp_norm", f"{_LAYER}.layernorm_after"),
        *dense(f"{_B}/mlp/expand", f"{_LAYER}.intermediate.dense"),
        *dense(f"{_B}/mlp/contract", f"{_LAYER}.output.dense"),
        *affine("final_norm", "layernorm"),
        *dense("pre_logits", "pooler.dense"),
        *dense("head", "classifier", "cls_classifier", whens=(unless(_HAS_TWO_HEADS), _HAS_TWO_HEADS)),
        *dense("head_distillation", "distillation_classifier"),
    ),
    ignored=(*_MASK, (r"decoder\..*", "decoder of masked patches")),
    head_features=(
        (r"embeddings\.cls_token", {"pooling": "token"}),
        (r"layernorm\.weight", {"final_norm": "before"}),
        # A classifier's input is the class token, not the pooler's output.
        (r"pooler\.dense\.weight|(?:cls_)?classifier\.weight", {"pre_logits_dim": None}),
    ),
)

HF_DINOV2 = Table(
    source="huggingface",
    title="transformers' Dinov2, with or without registers",
    signs=(r"encoder\.layer\.\d+\.layer_scale1\.lambda1",),
    renames=(
        (r"^dinov2(?:_with_registers)?\.", ""),
        *_V5_ATTENTION,
        (r"^(encoder\.layer\.\d+\.mlp)\.down_proj\.", r"\1.weights_out."),
    ),
    rows=(
        *_EMBEDDINGS,
        *_ATTENTION,
        *affine(f"{_B}/attention_norm", f"{_LAYER}.norm1"),
        *affine(f"{_B}/mlp_norm", f"{_LAYER}.norm2"),
        row(f"{_B}/attention_scale/gamma", way(f"{_LAYER}.layer_scale1.lambda1")),
        row(f"{_B}/mlp_scale/gamma", way(f"{_LAYER}.layer_scale2.lambda1")),
        *dense(
            f"{_B}/mlp/expand", f"{_LAYER}.mlp.fc1", f"{_LAYER}.mlp.weights_in",
            (f"{_LAYER}.mlp.gate_proj", f"{_LAYER}.mlp.up_proj"), whens=(*_BY_GATE, never),
        ),
        *dense(f"{_B}/mlp/contract", f"{_LAYER}.mlp.fc2", f"{_LAYER}.mlp.weights_out", whens=_BY_GATE),
        *affine("final_norm", "layernorm"),
        *dense("head", "classifier"),
    ),
    ignored=_MASK,
    head_features=(
        (r"layernorm\.weight", {"pooling": "token", "final_norm": "before"}),
        (r"classifier\.weight", {"pooling": "token_and_mean"}),
    ),
    convention=IMAGENET,
)  # fmt: skip

_V3 = "layer.{i}"
HF_DINOV3 = Table(
    source="huggingface",
    title="transformers' DINOv3ViT",
    signs=(r"layer\.\d+\.attention\.q_proj\.weight", r"embeddings\.patch_embeddings\.weight"),
    renames=((r"^(?:dinov3_vit\.)?(?:model\.)?", ""),),
    rows=(
        *dense("patch_encoder/projection", "embeddings.patch_embeddings", layout=CONV),
        row("patch_encoder/class_token", way("embeddings.cls_token")),
        row("patch_encoder/registers", way("embeddings.register_tokens")),
        *affine(f"{_B}/attention_norm", f"{_V3}.norm1"),
        *affine(f"{_B}/mlp_norm", f"{_V3}.norm2"),
        *_qkv(*(f"{_V3}.attention.{name}" for name in ("q_proj", "k_proj", "v_proj"))),
        *dense(f"{_B}/attention/output", f"{_V3}.attention.o_proj"),
        row(f"{_B}/attention_scale/gamma", way(f"{_V3}.layer_scale1.lambda1")),
        row(f"{_B}/mlp_scale/gamma", way(f"{_V3}.layer_scale2.lambda1")),
        *dense(
            f"{_B}/mlp/expand", (f"{_V3}.mlp.gate_proj", f"{_V3}.mlp.up_proj"), f"{_V3}.mlp.up_proj",
            whens=_BY_GATE[::-1],
        ),
        *dense(f"{_B}/mlp/contract", f"{_V3}.mlp.down_proj"),
        *affine("final_norm", "norm"),
    ),
    ignored=(*_MASK, (r"rope_embeddings\..*", "constant")),
    zeros=(r"layer\.\d+\.attention\.[qv]_proj\.bias",),
    head_features=((r"norm\.weight", {"pooling": "token", "final_norm": "before"}),),
    convention={**IMAGENET, "norm_epsilon": 1e-5},
)  # fmt: skip

_TOWER = "encoder.layers.{i}"
_IS_PACKED: When = lambda config: config.max_num_patches is not None  # noqa: E731
_TOWER_ROWS: tuple[Row, ...] = (
    row(  # SigLIP 2 NaFlex has a `Linear` over patches
        "patch_encoder/projection/kernel",
        way("embeddings.patch_embedding.weight", layout=CONV, when=unless(_IS_PACKED)),
        way("embeddings.patch_embedding.weight", layout=LINEAR, when=_IS_PACKED),
    ),
    row("patch_encoder/projection/bias", way("embeddings.patch_embedding.bias")),
    row("patch_encoder/position_embedding", way("embeddings.position_embedding.weight", layout=TABLE)),
    *_qkv(*(f"{_TOWER}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj"))),
    *dense(f"{_B}/attention/output", f"{_TOWER}.self_attn.out_proj"),
    *affine(f"{_B}/attention_norm", f"{_TOWER}.layer_norm1"),
    *affine(f"{_B}/mlp_norm", f"{_TOWER}.layer_norm2"),
    *dense(f"{_B}/mlp/expand", f"{_TOWER}.mlp.fc1"),
    *dense(f"{_B}/mlp/contract", f"{_TOWER}.mlp.fc2"),
    *affine("final_norm", "post_layernorm"),
)
_TOWER_RENAMES = ((r"^vision_model\.", ""),)

HF_CLIP = Table(
    source="huggingface",
    title="transformers' CLIP, OWL-ViT or OWLv2 vision tower",
    signs=(r"embeddings\.class_embedding", r"encoder\.layers\.\d+\.self_attn\.q_proj\.weight"),
    renames=((r"^owl(?:vit|v2)\.", ""), *_TOWER_RENAMES, (r"^pre_layernorm\.", "pre_layrnorm.")),
    rows=(
        row("patch_encoder/class_token", way("embeddings.class_embedding", layout=VECTOR)),
        *_TOWER_ROWS,
        *affine("stem_norm", "pre_layrnorm"),
        row("head/kernel", way("visual_projection.weight", layout=LINEAR)),
        row("head/bias", way()),
    ),
    ignored=(
        *_TEXT,
        (r"(?:class_head|box_head|objectness_head|layer_norm)\..*|box_bias", "detection head"),
        (r"classifier\..*", "a head on the mean of tokens without a final norm, which vit_keras does not build"),
    ),
    head_features=((r"post_layernorm\.weight", {"pooling": "token"}),),
    convention={**CLIP, "norm_epsilon": 1e-5},
)

HF_SIGLIP = Table(
    source="huggingface",
    title="transformers' SigLIP or SigLIP 2 vision tower",
    signs=(r"embeddings\.patch_embedding\.bias", r"encoder\.layers\.\d+\.self_attn\.q_proj\.weight"),
    renames=_TOWER_RENAMES,
    rows=(
        *_TOWER_ROWS,
        row("pooling/probe", way("head.probe")),
        row(("pooling/query/kernel", "pooling/key_value/kernel"), way("head.attention.in_proj_weight", layout=LINEAR)),
        row(("pooling/query/bias", "pooling/key_value/bias"), way("head.attention.in_proj_bias")),
        *dense("pooling/output", "head.attention.out_proj"),
        *affine("pooling/mlp_norm", "head.layernorm"),
        *dense("pooling/mlp/expand", "head.mlp.fc1"),
        *dense("pooling/mlp/contract", "head.mlp.fc2"),
        *dense("head", "classifier"),
    ),
    ignored=_TEXT,
    # The input of SiglipForImageClassification's head is the mean of the tokens, even if the file holds attention pooling.
    head_features=(
        (r"post_layernorm\.weight", {"final_norm": "before"}),
        (r"classifier\.weight", {"pooling": "mean"}),
    ),
    convention={**HALF, "norm_epsilon": 1e-6, "activation": "gelu_tanh"},
)
