"""timm's names, in its classes `VisionTransformer` (also `Distilled`, `RelPos`), `Beit`, `Eva` and `NaFlexVit`.

Compared with timm 1.0.31, `timm/models/vision_transformer.py`, `vision_transformer_relpos.py`, `deit.py`, `beit.py`, `eva.py` and
`naflexvit.py`.
"""

from dataclasses import replace
from operator import attrgetter

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.layouts import CONV, GRID, LINEAR, SAME
from vit_keras.weights.mappings.tables import Row, Table, When, affine, dense, never, row, unless, way


def is_eva(config: ViTConfig) -> bool:
    """Whether timm builds the model with its `Eva` or `Beit` class, which have other names for some weights."""
    return config.rotary_embedding != "none" or config.qkv_bias == "query_value"


def has_split_qkv(config: ViTConfig) -> bool:
    """Whether timm has separate queries, keys and values: in EVA-02 base and large, which have a norm inside the MLP."""
    return config.qkv_bias == "query_value" and config.mlp_inner_norm


def has_split_gate(config: ViTConfig) -> bool:
    """Whether timm has separate gate and value in the MLP: in `Eva` with a norm inside the MLP, in DINOv3 and in AIMv2."""
    has_inner_norm = is_eva(config) and config.mlp_inner_norm
    is_aimv2 = not config.projection_bias
    return config.gated_mlp and (has_inner_norm or config.rotary_embedding == "centered" or is_aimv2)


_B, _ATTN, _MLP = "block_{i}", "blocks.{i}.attn", "blocks.{i}.mlp"
_QKV = (f"{_ATTN}.q_proj", f"{_ATTN}.k_proj", f"{_ATTN}.v_proj")
_IS_VIT = unless(is_eva)
_HAS_FUSED_QKV = unless(has_split_qkv)
_IS_SEQUENTIAL = unless(attrgetter("parallel_block"))
_IS_DIFFERENTIAL: When = attrgetter("differential_attention")
_NETWORK = (
    ("expand_kernel", "fc1.weight", LINEAR), ("expand_bias", "fc1.bias", SAME), ("contract_kernel", "fc2.weight", LINEAR),
    ("contract_bias", "fc2.bias", SAME),
)  # fmt: skip


def _relative_position(ours: str, beit: str, relpos: str) -> tuple[Row, ...]:
    """Returns the rows of a relative position bias, which two of timm's classes name differently."""
    table = "relative_position_bias_table"
    return (
        row(f"{ours}/table", way(f"{beit}.{table}", when=is_eva), way(f"{relpos}.{table}", when=_IS_VIT)),
        *(row(f"{ours}/{name}", way(f"{relpos}.mlp.{theirs}", layout=layout)) for name, theirs, layout in _NETWORK),
    )


def _differential(attention: str) -> tuple[Row, ...]:
    """Returns the rows of differential attention."""
    return (
        *(
            row(f"{_B}/attention/lambda_{name}_{index}", way(f"{attention}.lambda_{name[0]}{index}"))
            for name in ("query", "key")
            for index in (1, 2)
        ),
        row(f"{_B}/attention/head_norm/gamma", way(f"{attention}.sub_norm.weight")),
    )


ROWS: tuple[Row, ...] = (
    *dense("patch_encoder/projection", "patch_embed.proj", layout=CONV),
    row("patch_encoder/class_token", way("cls_token")),
    row("patch_encoder/distillation_token", way("dist_token")),
    row("patch_encoder/registers", way("reg_token")),
    row("patch_encoder/position_embedding", way("pos_embed")),
    *affine("patch_encoder/norm", "patch_embed.norm"),
    *_relative_position("relative_position", "rel_pos_bias", "shared_rel_pos"),
    *affine("stem_norm", "norm_pre"),
    *affine(f"{_B}/attention_norm", "blocks.{i}.norm1"),
    *affine(f"{_B}/mlp_norm", "blocks.{i}.norm2"),
    row(
        f"{_B}/attention/qkv/kernel",
        way(f"{_ATTN}.qkv.weight", layout=LINEAR, when=_HAS_FUSED_QKV),
        way(*(f"{name}.weight" for name in _QKV), layout=LINEAR, when=has_split_qkv),
    ),
    row(f"{_B}/attention/qkv/bias", way(f"{_ATTN}.qkv.bias"), way(*(f"{name}.bias" for name in _QKV), when=never)),
    *(
        row(
            f"{_B}/attention/{name}_bias",
            way(f"{_ATTN}.{name[0]}_bias", when=_HAS_FUSED_QKV),
            way(f"{_ATTN}.{name[0]}_proj.bias", when=has_split_qkv),
        )
        for name in ("query", "value")
    ),
    *affine(f"{_B}/attention/query_norm", f"{_ATTN}.q_norm", "blocks.{i}.q_norm", when=_IS_SEQUENTIAL),
    *affine(f"{_B}/attention/key_norm", f"{_ATTN}.k_norm", "blocks.{i}.k_norm", when=_IS_SEQUENTIAL),
    *affine(f"{_B}/attention/inner_norm", f"{_ATTN}.norm"),
    row(f"{_B}/attention/rotary/frequencies", way("rope.freqs", stacked=1)),
    *_relative_position(f"{_B}/attention/relative_position", _ATTN, f"{_ATTN}.rel_pos"),
    *_differential(_ATTN),
    *dense(f"{_B}/attention/output", f"{_ATTN}.proj"),
    row(f"{_B}/attention_scale/gamma", way("blocks.{i}.ls1.gamma", when=_IS_VIT), way("blocks.{i}.gamma_1", when=is_eva)),
    row(f"{_B}/mlp_scale/gamma", way("blocks.{i}.ls2.gamma", when=_IS_VIT), way("blocks.{i}.gamma_2", when=is_eva)),
    *dense(
        f"{_B}/mlp/expand", f"{_MLP}.fc1", (f"{_MLP}.fc1_g", f"{_MLP}.fc1_x"),
        whens=(unless(has_split_gate), has_split_gate),
    ),
    *affine(f"{_B}/mlp/inner_norm", f"{_MLP}.norm"),
    *dense(f"{_B}/mlp/contract", f"{_MLP}.fc2"),
    *affine("final_norm", "norm", "fc_norm", when=lambda config: config.final_norm == "before"),
    row("pooling/probe", way("attn_pool.latent")),
    *dense("pooling/query", "attn_pool.q"),
    *dense("pooling/key_value", "attn_pool.kv"),
    *dense("pooling/output", "attn_pool.proj"),
    *affine("pooling/mlp_norm", "attn_pool.norm"),
    *dense("pooling/mlp/expand", "attn_pool.mlp.fc1"),
    *dense("pooling/mlp/contract", "attn_pool.mlp.fc2"),
    *dense("pre_logits", "pre_logits.fc"),
    *dense("head", "head"),
    *dense("head_distillation", "head_dist"),
)  # fmt: skip

_PARALLEL: tuple[Row, ...] = (
    # One projection makes the MLP's hidden layer and queries, keys and values.
    *affine(f"{_B}/norm", "blocks.{i}.in_norm"),
    row((f"{_B}/mlp/expand/kernel", f"{_B}/attention/qkv/kernel"), way("blocks.{i}.in_proj.weight", layout=LINEAR)),
    row((f"{_B}/mlp/expand/bias", f"{_B}/attention/qkv/bias"), way("blocks.{i}.in_proj.bias")),
    row(f"{_B}/mlp/expand/bias", way("blocks.{i}.mlp_bias")),
    # With differential attention, one projection ends both branches.
    row(
        (f"{_B}/attention/output/kernel", f"{_B}/mlp/contract/kernel"),
        way("blocks.{i}.out_proj.weight", layout=LINEAR, when=_IS_DIFFERENTIAL), axis=0,
    ),
    *dense(
        f"{_B}/attention/output", "blocks.{i}.attn_out_proj", "blocks.{i}.out_proj",
        whens=(unless(_IS_DIFFERENTIAL), _IS_DIFFERENTIAL),
    ),
    *dense(f"{_B}/mlp/contract", "blocks.{i}.mlp_out_proj", whens=(unless(_IS_DIFFERENTIAL),)),
    *_differential("blocks.{i}"),
    row(f"{_B}/scale/gamma", way("blocks.{i}.ls.gamma")),
)  # fmt: skip
HEAD_FEATURES = (
    (r"norm\.weight", {"final_norm": "before"}),
    (r"fc_norm\.weight", {"pooling": "mean", "final_norm": "after"}),
    (r"attn_pool\.latent", {"pooling": "map"}),
)
"""With mean pooling, timm puts the final norm after the pooling and calls it `fc_norm`."""

PROJECTION_HEADS = ((r"head\.(?:mlp|last_layer|\d+)\..*", "projection head of self-supervised training"),)

ROPES = (
    (r"(?:.*\.)?rope\.freqs_(?:cos|sin)", {"rotary_embedding": "axial"}),
    (r"rope(?:_embed)?\.periods", {"rotary_embedding": "centered"}),
)
"""Constants of rotary embeddings, which some versions save."""

UNTOLD = ("block_norm",)
"""Norms before and after attention and MLP have the same names."""

REFUSED = (
    (r"patch_embed\.backbone\..*", "a convolutional network makes its patches"),
    (r".*rel_pos_[hw]", "attention has relative positions along rows and columns, as in SAM"),
    (r"blocks_token_only\..*|blocks\.\d+\.attn\.proj_[lw]\..*", "attention heads are mixed, as in CaiT"),
)

_IN_BOTH_BLOCKS = ("query_norm", "key_norm", "rotary")

TIMM = Table(
    source="timm",
    title="timm's VisionTransformer or Eva",
    signs=(r"patch_embed\.proj\.weight", r"blocks\.\d+\.norm1\.weight"),
    rows=ROWS,
    refused=REFUSED,
    ignored=((r"(?:.*\.)?rope\.(?!freqs$).*|.*relative_position_index", "constant"), *PROJECTION_HEADS),
    head_features=HEAD_FEATURES,
    certain=ROPES,
    untold=UNTOLD,
)
BEIT = replace(
    TIMM,
    title="timm's or Microsoft's BEiT or BEiTv2, or timm's VisionTransformerRelPos",
    signs=(
        *TIMM.signs,
        r"(?:blocks\.\d+\.attn(?:\.rel_pos)?|rel_pos_bias|shared_rel_pos)\.relative_position_bias_table",
    ),
    ignored=(
        *TIMM.ignored,
        (r"mask_token|lm_head\..*", "only for training with masks"),
        (r"cls_pt_layers\..*|(?:vqkd|tokenizer)\..*", "only for training"),
    ),
)
"""Before Meta's tables: files of pretraining have a `mask_token`, too."""
TIMM_PARALLEL = Table(
    source="timm",
    title="timm's VisionTransformer with parallel blocks",
    signs=(r"patch_embed\.proj\.weight", r"blocks\.\d+\.in_norm\.weight"),
    rows=(
        *(item for item in ROWS if not item.is_per_block or any(part in item.targets[0] for part in _IN_BOTH_BLOCKS)),
        *_PARALLEL,
    ),
    refused=REFUSED,
    head_features=HEAD_FEATURES,
)


_EMBEDS: tuple[Row, ...] = (
    *dense("patch_encoder/projection", "embeds.proj"),
    row("patch_encoder/class_token", way("embeds.cls_token")),
    row("patch_encoder/registers", way("embeds.reg_token")),
    row("patch_encoder/position_embedding", way("embeds.pos_embed", layout=GRID)),
)
TIMM_NAFLEX = Table(
    source="timm",
    title="timm's NaFlexVit",
    signs=(r"embeds\.proj\.weight", r"blocks\.\d+\.norm1\.weight"),
    rows=(*_EMBEDS, *(item for item in ROWS if not item.targets[0].startswith("patch_encoder/"))),
    refused=(*REFUSED, (r"embeds\.pos_embed_[xy]", "rows and columns have positions of their own (factorized)")),
    head_features=HEAD_FEATURES,
)


def timm_table(config: ViTConfig) -> Table:
    """Returns the table of timm's model for a config."""
    if config.max_num_patches is not None:
        return TIMM_NAFLEX
    return TIMM_PARALLEL if config.parallel_block else TIMM
