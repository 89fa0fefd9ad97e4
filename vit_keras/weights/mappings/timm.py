"""timm's names, as its `VisionTransformer`, `VisionTransformerDistilled` and `Eva` classes have them.

What was compared: timm 1.0.31, `timm/models/vision_transformer.py`, `deit.py` and `eva.py`.
"""

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.layouts import CONV, LINEAR, SAME
from vit_keras.weights.mappings.tables import Row, Table, affine, dense, row, way


def is_eva(config: ViTConfig) -> bool:
    """Whether timm builds such a model with its `Eva` class, which names some weights otherwise.

    Args:
        config: The model's.
    """
    return config.rotary_embedding != "none" or config.qkv_bias == "query_value" or config.mlp_inner_norm


def is_split(config: ViTConfig) -> bool:
    """Whether timm has queries, keys and values apart: in EVA-02's base and large, the ones with a norm inside the MLP.

    Args:
        config: The model's.
    """
    return config.qkv_bias == "query_value" and config.mlp_inner_norm


def has_split_gate(config: ViTConfig) -> bool:
    """Whether timm has gate and value of the MLP apart: where it normalises inside, and in DINOv3.

    Args:
        config: The model's.
    """
    return config.gated_mlp and (config.mlp_inner_norm or config.rotary_embedding == "centered")


def _plain(config: ViTConfig) -> bool:
    return not is_eva(config)


def _fused(config: ViTConfig) -> bool:
    return not is_split(config)


def _packed(config: ViTConfig) -> bool:
    return not has_split_gate(config)


def _norm_first(config: ViTConfig) -> bool:
    return config.final_norm == "before"


_B, _ATTN, _MLP = "block_{i}", "blocks.{i}.attn", "blocks.{i}.mlp"

ROWS: tuple[Row, ...] = (
    row("patch_encoder/projection/kernel", way("patch_embed.proj.weight", layout=CONV)),
    row("patch_encoder/projection/bias", way("patch_embed.proj.bias")),
    row("patch_encoder/class_token", way("cls_token")),
    row("patch_encoder/distillation_token", way("dist_token")),
    row("patch_encoder/registers", way("reg_token")),
    row("patch_encoder/position_embedding", way("pos_embed")),
    *affine("stem_norm", "norm_pre"),
    *affine(f"{_B}/attention_norm", "blocks.{i}.norm1"),
    *affine(f"{_B}/mlp_norm", "blocks.{i}.norm2"),
    row(
        f"{_B}/attention/qkv/kernel",
        way(f"{_ATTN}.qkv.weight", layout=LINEAR, when=_fused),
        way(f"{_ATTN}.q_proj.weight", f"{_ATTN}.k_proj.weight", f"{_ATTN}.v_proj.weight", layout=LINEAR, when=is_split),
    ),
    row(
        f"{_B}/attention/qkv/bias",
        way(f"{_ATTN}.qkv.bias"),
        way(f"{_ATTN}.q_proj.bias", f"{_ATTN}.k_proj.bias", f"{_ATTN}.v_proj.bias", when=lambda config: False),
    ),
    row(
        f"{_B}/attention/query_bias",
        way(f"{_ATTN}.q_bias", when=_fused),
        way(f"{_ATTN}.q_proj.bias", when=is_split),
    ),
    row(
        f"{_B}/attention/value_bias",
        way(f"{_ATTN}.v_bias", when=_fused),
        way(f"{_ATTN}.v_proj.bias", when=is_split),
    ),
    *affine(
        f"{_B}/attention/query_norm",
        f"{_ATTN}.q_norm",
        "blocks.{i}.q_norm",
        when=lambda config: not config.parallel_block,
    ),
    *affine(
        f"{_B}/attention/key_norm",
        f"{_ATTN}.k_norm",
        "blocks.{i}.k_norm",
        when=lambda config: not config.parallel_block,
    ),
    row(f"{_B}/attention/rotary/frequencies", way("rope.freqs", layout=SAME, stacked=1)),
    *dense(f"{_B}/attention/output", f"{_ATTN}.proj", layout=LINEAR),
    row(
        f"{_B}/attention_scale/gamma", way("blocks.{i}.ls1.gamma", when=_plain), way("blocks.{i}.gamma_1", when=is_eva)
    ),
    row(f"{_B}/mlp_scale/gamma", way("blocks.{i}.ls2.gamma", when=_plain), way("blocks.{i}.gamma_2", when=is_eva)),
    row(
        f"{_B}/mlp/expand/kernel",
        way(f"{_MLP}.fc1.weight", layout=LINEAR, when=_packed),
        way(f"{_MLP}.fc1_g.weight", f"{_MLP}.fc1_x.weight", layout=LINEAR, when=has_split_gate),
    ),
    row(
        f"{_B}/mlp/expand/bias",
        way(f"{_MLP}.fc1.bias", when=_packed),
        way(f"{_MLP}.fc1_g.bias", f"{_MLP}.fc1_x.bias", when=has_split_gate),
    ),
    *affine(f"{_B}/mlp/inner_norm", f"{_MLP}.norm"),
    *dense(f"{_B}/mlp/contract", f"{_MLP}.fc2", layout=LINEAR),
    *affine("final_norm", "norm", "fc_norm", when=_norm_first),
    row("pooling/probe", way("attn_pool.latent")),
    *dense("pooling/query", "attn_pool.q", layout=LINEAR),
    *dense("pooling/key_value", "attn_pool.kv", layout=LINEAR),
    *dense("pooling/output", "attn_pool.proj", layout=LINEAR),
    *affine("pooling/mlp_norm", "attn_pool.norm"),
    *dense("pooling/mlp/expand", "attn_pool.mlp.fc1", layout=LINEAR),
    *dense("pooling/mlp/contract", "attn_pool.mlp.fc2", layout=LINEAR),
    *dense("pre_logits", "pre_logits.fc", layout=LINEAR),
    *dense("head", "head", layout=LINEAR),
    *dense("head_distillation", "head_dist", layout=LINEAR),
)

_PARALLEL: tuple[Row, ...] = (
    # One projection makes the MLP's inside and queries, keys and values.
    *affine(f"{_B}/norm", "blocks.{i}.in_norm"),
    row((f"{_B}/mlp/expand/kernel", f"{_B}/attention/qkv/kernel"), way("blocks.{i}.in_proj.weight", layout=LINEAR)),
    row((f"{_B}/mlp/expand/bias", f"{_B}/attention/qkv/bias"), way("blocks.{i}.in_proj.bias")),
    row(f"{_B}/mlp/expand/bias", way("blocks.{i}.mlp_bias")),
    *dense(f"{_B}/attention/output", "blocks.{i}.attn_out_proj", layout=LINEAR),
    *dense(f"{_B}/mlp/contract", "blocks.{i}.mlp_out_proj", layout=LINEAR),
    row(f"{_B}/scale/gamma", way("blocks.{i}.ls.gamma")),
)
HEAD_FEATURES = (
    (r"norm\.weight", {"final_norm": "before"}),
    (r"fc_norm\.weight", {"pooling": "mean", "final_norm": "after"}),
    (r"attn_pool\.latent", {"pooling": "map"}),
)
"""timm moves the final norm behind the pooling, and calls it `fc_norm`, where it pools the mean."""

_BLOCK_OF_BOTH = ("query_norm", "key_norm", "rotary")

TIMM = Table(
    source="timm",
    title="timm's VisionTransformer or Eva",
    signs=(r"patch_embed\.proj\.weight", r"blocks\.\d+\.norm1\.weight"),
    rows=ROWS,
    ignored=((r"rope\.(?!freqs$).*", "fixed"),),
    head_features=HEAD_FEATURES,
)
TIMM_PARALLEL = Table(
    source="timm",
    title="timm's VisionTransformer with parallel blocks",
    signs=(r"patch_embed\.proj\.weight", r"blocks\.\d+\.in_norm\.weight"),
    rows=(
        *(line for line in ROWS if not line.a_block or any(part in line.targets[0] for part in _BLOCK_OF_BOTH)),
        *_PARALLEL,
    ),
    head_features=HEAD_FEATURES,
)
