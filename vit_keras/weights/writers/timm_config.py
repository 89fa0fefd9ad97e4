"""Writes timm's config.json: one of its architectures, and arguments that replace the architecture's."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.data.images.preprocess import Preprocessing, default_preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.weights.mappings.config_fields import (
    TIMM_EVA_FIELDS,
    TIMM_NAFLEX_RESIZES,
    TIMM_POOLS,
    TIMM_SHARED_FIELDS,
    TIMM_VIT_FIELDS,
)
from vit_keras.weights.mappings.libraries.timm import has_split_qkv
from vit_keras.weights.writers.requirements import PLAIN, find_kind, list_misfits, repeat_per_channel

_BORDER = 128  # gray level with which `Preprocessing` pads, of 0..255
_BOTH = (True, False)
_Allowed = Mapping[str, Collection[Any]]

_VIT: _Allowed = {
    **PLAIN,
    "class_token": _BOTH,
    "num_registers": range(257),
    "position_embedding": ("learned", "none"),
    "qkv_bias": ("all", "none"),
    "qk_norm": _BOTH,
    "attention_inner_norm": _BOTH,
    "mlp_inner_norm": _BOTH,
    "pooling": tuple(TIMM_POOLS),
    "map_includes_prefix": _BOTH,
    "final_norm": ("before", "after", "none"),
    "norm_epsilon": (1e-6,),
    "activation": ("gelu", "gelu_tanh", "quick_gelu", "silu"),
}
_EVA: _Allowed = {
    **{name: values for name, values in _VIT.items() if name not in ("rotary_offset", "num_map_heads", "map_mlp_dim")},
    "stem_norm": _BOTH,
    "patch_bias": _BOTH,
    "gated_mlp": _BOTH,
    "activation": ("gelu", "silu"),
    "rotary_embedding": ("axial", "none"),
    "qkv_bias": ("query_value",),
    "map_includes_prefix": (True,),
}
_RELPOS: _Allowed = {
    **PLAIN,
    "class_token": _BOTH,
    "position_embedding": ("none",),
    "relative_position": ("table", "mlp"),
    "relative_position_shared": _BOTH,
    "qkv_bias": ("all", "none"),
    "qk_norm": _BOTH,
    "pooling": ("token", "mean"),
    "final_norm": ("before", "after"),
    "norm_epsilon": (1e-6,),
    "activation": ("gelu",),
}
_KINDS: dict[str, _Allowed] = {
    "naflexvit_base_patch16_gap": {
        **_VIT, "max_num_patches": range(1, 16_385), "position_on_prefix": (False,), "position_resize": tuple(TIMM_NAFLEX_RESIZES),
    },
    "vit_base_patch16_224": {**_VIT, "stem_norm": _BOTH, "patch_bias": _BOTH},
    "beit3_base_patch16_224": {
        **_VIT, "norm_epsilon": (1e-5,), "attention_inner_norm": (True,), "mlp_inner_norm": (True,),
    },
    "vit_base_patch16_clip_224": {**_VIT, "norm_epsilon": (1e-5,), "stem_norm": _BOTH, "patch_bias": _BOTH},
    "vit_giant_patch14_dinov2": {**_VIT, "gated_mlp": (True,), "activation": ("silu",)},
    "vit_pwee_patch16_reg1_gap_256": {**_VIT, "parallel_block": (True,)},
    "vit_dpwee_patch16_reg1_gap_256": {**_VIT, "parallel_block": (True,), "differential_attention": (True,), "qk_norm": (False,)},
    "deit_base_distilled_patch16_224": {
        **PLAIN, "distillation_token": (True,), "qkv_bias": ("all", "none"), "qk_norm": _BOTH, "norm_epsilon": (1e-6,),
        "position_on_prefix": (True,), "activation": _VIT["activation"],
    },
    "vit_base_patch16_rpn_224": {**_VIT, "block_norm": ("after",)},
    "vit_dlittle_patch16_reg1_gap_256": {**_VIT, "differential_attention": (True,), "qk_norm": (False,)},
    "aimv2_large_patch14_224": {
        **_VIT, "norm": ("rms",), "norm_epsilon": (1e-5,), "patch_norm": (True,), "projection_bias": (False,), "gated_mlp": (True,),
    },
    "beit_base_patch16_224": {
        **PLAIN, "qkv_bias": ("query_value",), "position_embedding": ("learned", "none"), "relative_position": ("table",),
        "relative_position_shared": _BOTH, "pooling": ("token", "mean"), "final_norm": ("before", "after"), "activation": ("gelu",),
        "norm_epsilon": (1e-6,),
    },
    "vit_relpos_base_patch16_224": _RELPOS,
    "vit_relpos_base_patch16_rpn_224": {**_RELPOS, "block_norm": ("after",)},
    "eva02_base_patch14_224": _EVA,
    "eva02_enormous_patch14_clip_224": {**_EVA, "block_norm": ("after",), "qk_norm": (False,)},
    "vit_base_patch16_rope_224": {**_EVA, "rotary_embedding": ("axial",), "qkv_bias": ("all", "none")},
    "vit_pe_core_base_patch16_224": {
        **_EVA, "rotary_embedding": ("axial",), "qkv_bias": ("all", "none"), "norm_epsilon": (1e-5,),
    },
    "vit_base_patch16_rope_mixed_ape_224": {**_EVA, "rotary_embedding": ("mixed",), "qkv_bias": ("all", "none")},
    "vit_base_patch16_dinov3": {
        **_EVA, "rotary_embedding": ("centered",), "rotary_order": ("yx",), "qkv_bias": ("query_value", "none"),
        "norm_epsilon": (1e-5,), "mlp_inner_norm": (False,), "position_embedding": ("none",),
    },
}  # fmt: skip
_PERCEPTION = "vit_pe_core_base_patch16_224"  # its arguments have other defaults
_EVA_KINDS = ("eva", "vit_base_patch16_rope", "vit_base_patch16_dinov3", _PERCEPTION)


def timm_config(
    config: ViTConfig,
    num_classes: int | None,
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> dict[str, Any]:
    """Returns timm's config.json."""
    if config.max_num_patches is not None and not config.num_prefix_tokens:
        config = config.replace(position_on_prefix=False)  # means nothing without them
    architecture = find_kind("timm", {name: _list_reasons(allowed, config) for name, allowed in _KINDS.items()})
    has_split_gate = architecture.startswith((*_EVA_KINDS, "aimv2"))
    preprocessing = preprocessing or default_preprocessing(config)
    mean = repeat_per_channel(config.pixel_mean, config.channels)
    if preprocessing.crop_mode == "border" and any(round(255 * value) != _BORDER for value in mean):
        raise InvalidArgumentError(
            f"With crop_mode='border', timm pads images with the color of pixel_mean={config.pixel_mean}, and the model's "
            "preprocessing with gray: choose crop_mode='center' or 'squash'."
        )
    written: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": num_classes or 0,
        "num_features": config.hidden_dim,
        "global_pool": TIMM_POOLS[config.pooling],
        "model_args": {
            **({} if config.max_num_patches else {"img_size": list(config.image_size)}),
            **_map_fields(TIMM_SHARED_FIELDS, config),
            "global_pool": TIMM_POOLS[config.pooling],
            "mlp_ratio": _compute_ratio(config.mlp_dim * (2 if config.gated_mlp and not has_split_gate else 1), config),
            "qkv_bias": config.qkv_bias != "none",
            **_own_arguments(config, architecture),
        },
        "pretrained_cfg": {
            "num_classes": num_classes or 0,
            "input_size": [config.channels, *_input_size(config)],
            "fixed_input_size": config.max_num_patches is None,
            "mean": mean,
            "std": repeat_per_channel(config.pixel_std, config.channels),
            "interpolation": preprocessing.interpolation,
            "crop_pct": preprocessing.crop,
            "crop_mode": preprocessing.crop_mode,
            # Older versions of timm assume that a kernel was trained on 3 channels, and initialize any other again.
            "first_conv": None
            if config.channels != 3
            else "embeds.proj"
            if config.max_num_patches
            else "patch_embed.proj",
            "classifier": ["head", "head_dist"] if config.distillation_token else "head",
        },
    }
    if architecture.startswith("beit"):
        del written["model_args"]["qk_norm"]  # its class has no such argument
    if class_names is not None:
        written["label_names"] = list(class_names)
    return written


def _list_reasons(allowed: _Allowed, config: ViTConfig) -> list[str]:
    reasons = list_misfits(config, allowed)
    if config.patch_bias == config.stem_norm:
        reasons.append("it has a patch bias exactly where no stem norm follows: patch_bias and stem_norm must differ")
    if config.gated_mlp and config.activation != "silu":
        reasons.append(f'its gated MLP has activation="silu", not {config.activation!r}')
    if allowed.get("gated_mlp") == _BOTH and not config.gated_mlp and config.activation != "gelu":
        reasons.append(f'its MLP without gates has activation="gelu", not {config.activation!r}')
    if config.gated_mlp and config.pooling == "map":
        reasons.append('with a gated MLP, its pooling="map" has an MLP of another activation or width')
    if config.rotary_embedding == "none" and allowed["rotary_embedding"] == ("axial", "none") and config.qk_norm:
        reasons.append("qk_norm=True")
    return reasons


def _own_arguments(config: ViTConfig, architecture: str) -> dict[str, Any]:
    """Returns the arguments that only some of timm's classes have."""
    if architecture.startswith(_EVA_KINDS):
        return _eva_arguments(config, architecture)
    if architecture.startswith("beit"):
        return {
            "use_abs_pos_emb": config.position_embedding == "learned",
            "use_rel_pos_bias": not config.relative_position_shared,
            "use_shared_rel_pos_bias": config.relative_position_shared,
            "use_fc_norm": config.final_norm == "after",
        }
    if architecture.startswith("vit_relpos"):
        has_network = config.relative_position == "mlp"
        return {
            "class_token": config.class_token,
            "rel_pos_type": "mlp" if has_network else "bias",
            "rel_pos_dim": config.relative_position_dim if has_network else None,
            "shared_rel_pos": config.relative_position_shared,
            "fc_norm": config.final_norm == "after",
        }
    return _vit_arguments(config, architecture)


def _vit_arguments(config: ViTConfig, architecture: str) -> dict[str, Any]:
    activation = {} if config.gated_mlp else {"act_layer": config.activation}
    if architecture.startswith("deit"):
        return activation
    if config.max_num_patches is not None:
        return {
            **activation,
            **{name: getattr(config, TIMM_VIT_FIELDS[name]) for name in ("class_token", "reg_tokens", "pre_norm")},
            "pool_include_prefix": config.pooling == "map"
            and config.map_includes_prefix
            and config.num_prefix_tokens > 0,
            "pos_embed": "learned" if config.position_embedding == "learned" else "none",
            "pos_embed_grid_size": list(config.grid_size),
            **TIMM_NAFLEX_RESIZES[config.position_resize],
            "fc_norm": config.final_norm == "after",
            "final_norm": config.final_norm != "none",
        }
    pools_prefix = config.pooling == "map" and config.num_prefix_tokens
    return {
        **activation,
        # Some are written only where they have an effect: not every version of timm knows them.
        **{
            name: value
            for name, value in _map_fields(TIMM_VIT_FIELDS, config).items()
            if value or not name.startswith("scale")
        },
        **({"pool_include_prefix": config.map_includes_prefix} if pools_prefix else {}),
        "no_embed_class": not config.position_on_prefix,
        "pos_embed": "learn" if config.position_embedding == "learned" else "none",
        "fc_norm": config.final_norm == "after",
        **({"final_norm": False} if config.final_norm == "none" else {}),
    }


def _input_size(config: ViTConfig) -> tuple[int, int]:
    """Returns height and width, px; with `max_num_patches` those of an image of so many patches, as square as possible."""
    if config.max_num_patches is None:
        return config.image_size
    count = config.max_num_patches
    rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    return rows * config.patch_size, count // rows * config.patch_size


def _eva_arguments(config: ViTConfig, architecture: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        **_map_fields(TIMM_EVA_FIELDS, config),
        "no_embed_class": not config.position_on_prefix,
        "use_abs_pos_emb": config.position_embedding == "learned",
        "use_rot_pos_emb": config.rotary_embedding != "none",
        "rope_grid_indexing": "ij" if config.rotary_order == "yx" else "xy",
        "ref_feat_shape": list(config.rotary_reference) if config.rotary_reference is not None else None,
        "qkv_fused": not has_split_qkv(config),
        "use_fc_norm": config.final_norm == "after",
        "use_post_transformer_norm": config.final_norm == "before",
        "dynamic_img_size": False,
    }
    if config.gated_mlp and config.rotary_embedding == "centered":
        arguments["swiglu_align_to"] = 1  # separate gate and value, without rounding their width
    # Written only where they have an effect: not every version of timm knows them.
    has_defaults = architecture == _PERCEPTION
    if has_defaults or config.stem_norm:
        arguments["use_pre_transformer_norm"] = config.stem_norm
    if has_defaults or config.rotary_offset:
        arguments["rope_grid_offset"] = config.rotary_offset
    if config.pooling == "map" and (has_defaults or config.num_map_heads is not None):
        arguments["attn_pool_num_heads"] = config.num_map_heads or config.num_heads
    if config.pooling == "map" and (has_defaults or config.map_mlp_dim is not None):
        arguments["attn_pool_mlp_ratio"] = _compute_ratio(config.map_mlp_dim or config.mlp_dim, config)
    return arguments


def _map_fields(fields: Mapping[str, str], config: ViTConfig) -> dict[str, Any]:
    return {theirs: getattr(config, ours) for theirs, ours in fields.items()}


def _compute_ratio(width: int, config: ViTConfig) -> float:
    """Returns the ratio to `hidden_dim` from which timm computes a width, which it rounds down."""
    ratio = width / config.hidden_dim
    return ratio if int(config.hidden_dim * ratio) == width else (width + 0.5) / config.hidden_dim
