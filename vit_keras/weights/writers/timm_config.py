"""The `config.json` from which timm builds a model: one of its architectures, and arguments in place of that one's."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.weights.mappings.timm import is_split
from vit_keras.weights.writers.requirements import PLAIN, misfits, refuse
from vit_keras.weights.writers.resizing_rule import GREY, ResizingRule, each_channel, rule_for

POOLS = {"token": "token", "mean": "avg", "map": "map"}
"""Our `pooling`, and timm's `global_pool`."""

SHARED_FIELDS = {
    "patch_size": "patch_size", "in_chans": "channels", "embed_dim": "hidden_dim", "depth": "num_layers", "num_heads": "num_heads",
    "init_values": "layer_scale", "qk_norm": "qk_norm",
}  # fmt: skip
"""Arguments of every model of timm's, and our fields with the same values."""

VIT_FIELDS = {"class_token": "class_token", "reg_tokens": "num_registers", "pre_norm": "stem_norm"}
"""Further arguments of its `VisionTransformer`."""

EVA_FIELDS = {
    "class_token": "class_token", "num_reg_tokens": "num_registers", "rope_temperature": "rotary_temperature",
    "swiglu_mlp": "gated_mlp", "scale_mlp": "mlp_inner_norm",
}  # fmt: skip
"""Further arguments of its `Eva`."""

_BOTH, _MANY = (True, False), range(257)


@dataclass(frozen=True)
class _Kind:
    architecture: str
    allowed: Mapping[str, Collection[Any]]


_VIT: Mapping[str, Collection[Any]] = {
    **PLAIN,
    "class_token": _BOTH,
    "num_registers": _MANY,
    "position_embedding": ("learned", "none"),
    "qkv_bias": ("all", "none"),
    "qk_norm": _BOTH,
    "pooling": tuple(POOLS),
    "map_includes_prefix": _BOTH,
    "final_norm": ("before", "after"),
    "norm_epsilon": (1e-6,),
    "activation": ("gelu", "gelu_tanh", "quick_gelu", "silu"),
}
_EVA: Mapping[str, Collection[Any]] = {
    **_VIT,
    "gated_mlp": _BOTH,
    "mlp_inner_norm": _BOTH,
    "activation": ("gelu", "silu"),
    "rotary_embedding": ("axial", "none"),
    "qkv_bias": ("query_value",),
    "map_includes_prefix": (True,),
}
_CLIP: Mapping[str, Collection[Any]] = {**_VIT, "norm_epsilon": (1e-5,), "stem_norm": _BOTH, "patch_bias": _BOTH}

_KINDS = (
    _Kind("vit_base_patch16_224", {**_VIT, "stem_norm": _BOTH, "patch_bias": _BOTH}),
    _Kind("vit_base_patch16_clip_224", _CLIP),
    _Kind("vit_giant_patch14_dinov2", {**_VIT, "gated_mlp": (True,), "activation": ("silu",)}),
    _Kind("vit_pwee_patch16_reg1_gap_256", {**_VIT, "parallel_block": (True,)}),
    _Kind(
        "deit_base_distilled_patch16_224",
        {
            **PLAIN, "distillation_token": (True,), "qkv_bias": ("all", "none"), "qk_norm": _BOTH, "norm_epsilon": (1e-6,),
            "position_on_prefix": (True,), "activation": _VIT["activation"],
        },
    ),
    _Kind("eva02_base_patch14_224", _EVA),
    _Kind("vit_base_patch16_rope_224", {**_EVA, "rotary_embedding": ("axial",), "qkv_bias": ("all", "none")}),
    _Kind(
        "vit_base_patch16_rope_mixed_ape_224",
        {**_EVA, "rotary_embedding": ("mixed",), "qkv_bias": ("all", "none")},
    ),
    _Kind(
        "vit_base_patch16_dinov3",
        {
            **_EVA, "rotary_embedding": ("centered",), "rotary_order": ("yx",), "qkv_bias": ("query_value", "none"),
            "norm_epsilon": (1e-5,), "mlp_inner_norm": (False,), "position_embedding": ("none",),
        },
    ),
)  # fmt: skip


def timm_config(
    config: ViTConfig,
    num_classes: int | None,
    class_names: Sequence[str] | None = None,
    preprocessing: ResizingRule | None = None,
) -> dict[str, Any]:
    """Returns timm's `config.json`.

    Args:
        config: The model's.
        num_classes: Classes of its head, or None.
        class_names: What its outputs mean, or None.
        preprocessing: What brings images to the model's size; None for the size, uncut.

    Raises:
        InvalidArgumentError: timm has no such model, with what keeps it from the nearest; or no such way to resize.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> timm_config(config, 10)["model_args"]["embed_dim"]
        32
    """
    reasons = {kind.architecture: _reasons(kind, config) for kind in _KINDS}
    architecture = next((name for name, why in reasons.items() if not why), None)
    if architecture is None:
        raise refuse("timm", reasons)
    is_eva = architecture.startswith(("eva", "vit_base_patch16_rope", "vit_base_patch16_dinov3"))
    arguments = {
        "img_size": list(config.image_size),
        **_same(SHARED_FIELDS, config),
        "global_pool": POOLS[config.pooling],
        "mlp_ratio": _mlp_ratio(config, packed=config.gated_mlp and not is_eva),
        "qkv_bias": config.qkv_bias != "none",
        **(_eva_arguments(config) if is_eva else _vit_arguments(config, architecture)),
    }
    height, width = config.image_size
    rule = rule_for(config, preprocessing)
    mean = each_channel(config.pixel_mean, config.channels)
    if rule.crop_mode == "border" and any(round(255 * value) != GREY for value in mean):
        raise InvalidArgumentError(
            f"timm frames images by crop_mode='border' in the color of pixel_mean={config.pixel_mean}, and the model's preprocessing "
            "in grey: choose crop_mode='center' or 'squash'."
        )
    written: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": num_classes or 0,
        "num_features": config.hidden_dim,
        "global_pool": POOLS[config.pooling],
        "model_args": arguments,
        "pretrained_cfg": {
            "num_classes": num_classes or 0,
            "input_size": [config.channels, height, width],
            "fixed_input_size": True,
            "mean": mean,
            "std": each_channel(config.pixel_std, config.channels),
            "interpolation": rule.interpolation,
            "crop_pct": rule.crop,
            "crop_mode": rule.crop_mode,
            # Older versions of timm take the kernel of any other number of channels for one of 3, and start it anew.
            "first_conv": "patch_embed.proj" if config.channels == 3 else None,
            "classifier": ["head", "head_dist"] if config.distillation_token else "head",
        },
    }
    if class_names is not None:
        written["label_names"] = list(class_names)
    return written


def _reasons(kind: _Kind, config: ViTConfig) -> list[str]:
    reasons = misfits(config, kind.allowed)
    if config.patch_bias == config.stem_norm:
        reasons.append(
            "patch_bias and stem_norm exclude each other there: its patches have a bias where no norm follows"
        )
    if config.gated_mlp and config.activation != "silu":
        reasons.append(f'its gates are activation="silu", not {config.activation!r}')
    if kind.allowed.get("gated_mlp") == _BOTH and not config.gated_mlp and config.activation != "gelu":
        reasons.append(f'its MLP without gates is activation="gelu", not {config.activation!r}')
    if config.gated_mlp and config.pooling == "map":
        reasons.append('beside a gated MLP, its pooling="map" has an MLP of another activation or width')
    if config.rotary_embedding == "none" and kind.allowed["rotary_embedding"] == ("axial", "none") and config.qk_norm:
        reasons.append("qk_norm=True")
    return reasons


def _vit_arguments(config: ViTConfig, architecture: str) -> dict[str, Any]:
    shared = {} if config.gated_mlp else {"act_layer": config.activation}
    if architecture.startswith("deit"):
        return shared
    on_prefix = config.pooling == "map" and config.num_prefix_tokens
    return {
        **shared,
        **_same(VIT_FIELDS, config),
        # Said only where it matters: not every version of timm knows it.
        **({"pool_include_prefix": config.map_includes_prefix} if on_prefix else {}),
        "no_embed_class": not config.position_on_prefix,
        "pos_embed": "learn" if config.position_embedding == "learned" else "none",
        "fc_norm": config.final_norm == "after",
    }


def _eva_arguments(config: ViTConfig) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        **_same(EVA_FIELDS, config),
        "no_embed_class": not config.position_on_prefix,
        "use_abs_pos_emb": config.position_embedding == "learned",
        "use_rot_pos_emb": config.rotary_embedding != "none",
        "rope_grid_indexing": "ij" if config.rotary_order == "yx" else "xy",
        "ref_feat_shape": list(config.rotary_reference) if config.rotary_reference is not None else None,
        "qkv_fused": not is_split(config),
        "use_fc_norm": config.final_norm == "after",
        "use_post_transformer_norm": config.final_norm == "before",
        "dynamic_img_size": False,
    }
    if config.gated_mlp and config.rotary_embedding == "centered":
        arguments["swiglu_align_to"] = 1  # gate and value apart, and no rounding of their width
    return arguments


def _same(fields: Mapping[str, str], config: ViTConfig) -> dict[str, Any]:
    return {theirs: getattr(config, ours) for theirs, ours in fields.items()}


def _mlp_ratio(config: ViTConfig, *, packed: bool) -> float:
    """Returns the ratio from which timm computes this `mlp_dim`, which it rounds down."""
    inside = config.mlp_dim * (2 if packed else 1)
    ratio = inside / config.hidden_dim
    return ratio if int(config.hidden_dim * ratio) == inside else (inside + 0.5) / config.hidden_dim
