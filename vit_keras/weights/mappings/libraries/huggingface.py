"""Hugging Face's names, as transformers writes them to files: the names of version 4, which version 5 keeps in files.

In memory version 5 renames many; each table's renames map those and the models' prefixes to the names in files. Compared with
transformers 5.23, `conversion_mapping.py` and the `modeling_*.py` of each model.
"""

import re
from operator import attrgetter

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.config_fields import CLIP, HALF, IMAGENET
from vit_keras.weights.mappings.layouts import CONV, LINEAR, TABLE, VECTOR
from vit_keras.weights.mappings.libraries.timm import ROWS as TIMM_ROWS
from vit_keras.weights.mappings.tables import NO_ROTARY, Row, Table, When, affine, dense, never, row, unless, way

_B = "block_{i}"
_TEXT = (
    (r"text_model\..*|text_projection\.weight|logit_scale|logit_bias", "text tower"),
    (r"embeddings\.position_ids", "indices of the positions"),
)
_MASK = ((r"embeddings\.mask_token", "only for training with masks"),)
_IS_GATED: When = attrgetter("gated_mlp")
_BY_GATE = (unless(_IS_GATED), _IS_GATED)
_HAS_TWO_HEADS: When = attrgetter("has_two_heads")


def _has_no_norm(config: ViTConfig) -> bool:
    return config.final_norm == "none"


def _qkv(query: str, key: str, value: str, *, block: str = _B) -> tuple[Row, ...]:
    """Returns the rows of separate queries, keys and values, whichever have biases."""
    return (
        *dense(f"{block}/attention/qkv", (query, key, value)),
        row(f"{block}/attention/query_bias", way(f"{query}.bias")),
        row(f"{block}/attention/value_bias", way(f"{value}.bias")),
    )


def _v5_attention(layer: str) -> tuple[tuple[str, str], ...]:
    """Returns the renames of a layer's attention, given the layer's pattern."""
    names = {
        "q_proj": "attention.query",
        "k_proj": "attention.key",
        "v_proj": "attention.value",
        "o_proj": "output.dense",
    }
    return tuple((rf"^({layer}\.attention)\.{new}\.", rf"\1.{old}.") for new, old in names.items())


def _v5_mlp(layer: str) -> tuple[tuple[str, str], ...]:
    names = {"fc1": "intermediate.dense", "fc2": "output.dense"}
    return tuple((rf"^({layer})\.mlp\.{new}\.", rf"\1.{old}.") for new, old in names.items())


_V5_ATTENTION = _v5_attention(r"encoder\.layer\.\d+")
_LAYER = "encoder.layer.{i}"
_EMBEDDINGS: tuple[Row, ...] = (
    *dense("patch_encoder/projection", "embeddings.patch_embeddings.projection", layout=CONV),
    row("patch_encoder/class_token", way("embeddings.cls_token")),
    row("patch_encoder/distillation_token", way("embeddings.distillation_token")),
    row("patch_encoder/registers", way("embeddings.register_tokens")),
    row("patch_encoder/position_embedding", way("embeddings.position_embeddings")),
)


def _attention(block: str, layer: str) -> tuple[Row, ...]:
    return (
        *_qkv(*(f"{layer}.attention.attention.{name}" for name in ("query", "key", "value")), block=block),
        *dense(f"{block}/attention/output", f"{layer}.attention.output.dense"),
    )


def _vit_block(block: str, layer: str) -> tuple[Row, ...]:
    return (
        *_attention(block, layer),
        *affine(f"{block}/attention_norm", f"{layer}.layernorm_before"),
        *affine(f"{block}/mlp_norm", f"{layer}.layernorm_after"),
        *dense(f"{block}/mlp/expand", f"{layer}.intermediate.dense"),
        *dense(f"{block}/mlp/contract", f"{layer}.output.dense"),
    )


_ATTENTION = _attention(_B, _LAYER)

HF_VIT = Table(
    source="huggingface",
    title="transformers' ViT, DeiT, ViTMAE, ViTMSN or IJepa",
    signs=(r"(?:encoder\.layer|layers)\.\d+\.layernorm_before\.weight",),
    renames=(
        (r"^(?:vit|deit|ijepa)\.", ""),
        (r"^layers\.", "encoder.layer."),
        *_V5_ATTENTION,
        *_v5_mlp(r"encoder\.layer\.\d+"),
    ),
    rows=(
        *_EMBEDDINGS,
        *_vit_block(_B, _LAYER),
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
    certain=NO_ROTARY,
)

HF_MAE_DECODER = Table(
    source="huggingface",
    title="the decoder of transformers' ViTMAE",
    signs=(r"decoder\.decoder_embed\.weight",),
    renames=(
        (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),  # as version 5 writes them
        *_v5_attention(r"decoder\.decoder_layers\.\d+"),
        *_v5_mlp(r"decoder\.decoder_layers\.\d+"),
    ),
    rows=(
        *dense("decoder/embed", "decoder.decoder_embed"),
        row("decoder/mask_token", way("decoder.mask_token")),
        row("decoder/position_embedding", way("decoder.decoder_pos_embed")),
        *_vit_block(f"decoder/{_B}", "decoder.decoder_layers.{i}"),
        *affine("decoder/norm", "decoder.decoder_norm"),
        *dense("decoder/predict", "decoder.decoder_pred"),
    ),
)

_RELATIVE = "relative_position_bias.relative_position_bias_table"
HF_BEIT = Table(
    source="huggingface",
    title="transformers' BEiT or Data2VecVision",
    signs=(
        r"(?:encoder\.layer|layers)\.\d+\.layernorm_before\.weight",
        r"(?:encoder\.layer|layers)\.\d+\.(?:lambda_1|(?:attention\.attention\.)?" + re.escape(_RELATIVE) + ")"
        r"|(?:encoder\.relative_position_bias|shared_position_bias)\.relative_position_bias_table",
    ),
    renames=(
        (r"^layers\.", "encoder.layer."),
        *_V5_ATTENTION,
        *_v5_mlp(r"encoder\.layer\.\d+"),
        (r"^(encoder\.layer\.\d+)\.(relative_position_bias)\.", r"\1.attention.attention.\2."),
        (r"^shared_position_bias\.", "encoder.relative_position_bias."),
    ),
    rows=(
        *_EMBEDDINGS,
        *_ATTENTION,
        row("relative_position/table", way(f"encoder.{_RELATIVE}")),
        row(f"{_B}/attention/relative_position/table", way(f"{_LAYER}.attention.attention.{_RELATIVE}")),
        *affine(f"{_B}/attention_norm", f"{_LAYER}.layernorm_before"),
        *affine(f"{_B}/mlp_norm", f"{_LAYER}.layernorm_after"),
        row(f"{_B}/attention_scale/gamma", way(f"{_LAYER}.lambda_1")),
        row(f"{_B}/mlp_scale/gamma", way(f"{_LAYER}.lambda_2")),
        *dense(f"{_B}/mlp/expand", f"{_LAYER}.intermediate.dense"),
        *dense(f"{_B}/mlp/contract", f"{_LAYER}.output.dense"),
        *affine(
            "final_norm", "layernorm", "pooler.layernorm", when=lambda config: config.final_norm == "before",
        ),
        *dense("head", "classifier"),
    ),
    ignored=(
        *_MASK,
        (r"lm_head\..*", "only for training with masks"),
        (r".*relative_position_index", "constant"),
        (r"(?:decode_head|auxiliary_head|fpn\d?)\..*", "segmentation head"),
    ),
    head_features=(
        (r"layernorm\.weight", {"pooling": "token", "final_norm": "before"}),
        (r"pooler\.layernorm\.weight", {"pooling": "mean", "final_norm": "after"}),
    ),
    convention=HALF,
)  # fmt: skip

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
    certain=NO_ROTARY,
)  # fmt: skip

HF_INTERNVL = Table(
    source="huggingface",
    title="transformers' InternVL vision tower",
    # BEiT's files have the same names, but for attention.
    signs=(
        r"encoder\.layer\.\d+\.attention\.projection_layer\.weight",
        r"encoder\.layer\.\d+\.layernorm_before\.weight",
    ),
    rows=(
        *_EMBEDDINGS,
        *_qkv(*(f"{_LAYER}.attention.{name}" for name in ("q_proj", "k_proj", "v_proj"))),
        *dense(f"{_B}/attention/output", f"{_LAYER}.attention.projection_layer"),
        *affine(f"{_B}/attention_norm", f"{_LAYER}.layernorm_before"),
        *affine(f"{_B}/mlp_norm", f"{_LAYER}.layernorm_after"),
        row(f"{_B}/attention_scale/gamma", way(f"{_LAYER}.lambda_1")),
        row(f"{_B}/mlp_scale/gamma", way(f"{_LAYER}.lambda_2")),
        *dense(f"{_B}/mlp/expand", f"{_LAYER}.mlp.fc1"),
        *dense(f"{_B}/mlp/contract", f"{_LAYER}.mlp.fc2"),
        *affine("final_norm", "layernorm"),
    ),
    ignored=_MASK,
    head_features=((r"layernorm\.weight", {"pooling": "token", "final_norm": "before"}),),
    convention={**IMAGENET, "norm_epsilon": 1e-6},
)

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
    certain=((".*", {"rotary_embedding": "centered", "rotary_order": "yx"}),),
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
        *dense("head", "classifier", whens=(_has_no_norm,)),
        row("head/kernel", way("visual_projection.weight", layout=LINEAR, when=unless(_has_no_norm))),
        row("head/bias", way(when=unless(_has_no_norm))),
    ),
    ignored=(
        *_TEXT,
        (r"(?:class_head|box_head|objectness_head|layer_norm)\..*|box_bias", "detection head"),
    ),
    head_features=(
        (r"post_layernorm\.weight", {"pooling": "token", "final_norm": "before"}),
        # The input of CLIPForImageClassification's head; the file's norm is of the class token, which that model does not use.
        (r"classifier\.weight", {"pooling": "mean", "final_norm": "none"}),
    ),
    convention={**CLIP, "norm_epsilon": 1e-5},
    certain=NO_ROTARY,
)

_AIM = "encoder.layers.{i}"
HF_AIMV2 = Table(
    source="huggingface",
    title="transformers' AIMv2 vision tower",
    signs=(r"embeddings\.rms_norm\.weight", r"encoder\.layers\.\d+\.rms_norm1\.weight"),
    renames=_TOWER_RENAMES,
    rows=(
        *dense("patch_encoder/projection", "embeddings.patch_embed", layout=CONV),
        *affine("patch_encoder/norm", "embeddings.rms_norm"),
        row("patch_encoder/position_embedding", way("embeddings.position_embedding.weight", layout=TABLE)),
        *_qkv(*(f"{_AIM}.attention.{name}" for name in ("q_proj", "k_proj", "v_proj"))),
        *dense(f"{_B}/attention/output", f"{_AIM}.attention.out_proj"),
        *affine(f"{_B}/attention_norm", f"{_AIM}.rms_norm1"),
        *affine(f"{_B}/mlp_norm", f"{_AIM}.rms_norm2"),
        *dense(f"{_B}/mlp/expand", (f"{_AIM}.ffn.gate_proj", f"{_AIM}.ffn.up_proj")),
        *dense(f"{_B}/mlp/contract", f"{_AIM}.ffn.down_proj"),
        *affine("final_norm", "rms_norm"),
    ),
    ignored=(
        *_TEXT,
        (r"head\..*|visual_projection\..*", "attention pooling of another kind, which vit_keras does not build"),
    ),
    head_features=((r"rms_norm\.weight", {"pooling": "mean", "final_norm": "before"}),),
    convention={**CLIP, "norm_epsilon": 1e-5, "activation": "silu"},
)
AIMV2 = Table(
    source="huggingface",
    title="Apple's AIMv2",
    signs=(r"preprocessor\.patchifier\.proj\.weight", r"trunk\.blocks\.\d+\.norm_1\.weight"),
    renames=(
        (r"^preprocessor\.patchifier\.", "patch_embed."),
        (r"^preprocessor\.pos_embed$", "pos_embed"),
        (r"^trunk\.post_trunk_norm\.", "norm."),
        (r"^trunk\.", ""),
        (r"^(blocks\.\d+\.norm)_(\d)\.", r"\1\2."),
        (r"^(blocks\.\d+\.mlp)\.fc1\.", r"\1.fc1_g."),
        (r"^(blocks\.\d+\.mlp)\.fc3\.", r"\1.fc1_x."),
    ),
    rows=(
        *(item for item in TIMM_ROWS if not item.targets[0].startswith(f"{_B}/mlp/expand/")),
        *dense(f"{_B}/mlp/expand", ("blocks.{i}.mlp.fc1_g", "blocks.{i}.mlp.fc1_x")),
    ),
    head_features=((r"norm\.weight", {"pooling": "mean", "final_norm": "before"}),),
    convention={**CLIP, "norm_epsilon": 1e-5, "activation": "silu"},
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
    certain=NO_ROTARY,
)
