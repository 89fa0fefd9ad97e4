"""Reads timm's `config.json`: an architecture, arguments in place of its own, and how its images are prepared.

What was compared: timm 1.0.31, `_hub.py`, `_builder.py`, `vision_transformer.py`, `deit.py` and `eva.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.presets import list_presets, load_preset
from vit_keras.validation import closest
from vit_keras.weights.mappings.pixel_statistics import IMAGENET
from vit_keras.weights.mappings.timm import has_split_gate, is_eva
from vit_keras.weights.writers.timm_config import EVA_FIELDS, POOLS, SHARED_FIELDS, VIT_FIELDS

_FIELDS = {**SHARED_FIELDS, **{name: ours for name, ours in VIT_FIELDS.items() if name != "pre_norm"}, **EVA_FIELDS}
"""timm's arguments that are fields of ours under another name."""

_POOLING = {theirs: ours for ours, theirs in POOLS.items()}
_ROTARY = {"cat": "axial", "mixed": "mixed", "dinov3": "centered"}
_ACTIVATIONS = {
    "gelu": "gelu", "gelu_tanh": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "quickgelu": "quick_gelu",
    "silu": "silu", "swish": "silu",
}  # fmt: skip
_NO_EFFECT = {
    "num_classes", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate",
    "weight_init", "fix_init", "head_init_scale", "dynamic_img_size", "dynamic_img_pad", "qkv_fused", "swiglu_align_to",
    "rope_shift_coords", "rope_jitter_coords", "rope_rescale_coords", "fc_norm", "use_fc_norm",
}  # fmt: skip
"""Arguments that change no output of a trained model, or that the names of the tensors tell."""

_CONVERTED = {
    "img_size", "global_pool", "pool_include_prefix", "final_norm", "use_post_transformer_norm", "use_rot_pos_emb", "rope_type", "mlp_ratio", "qkv_bias", "pre_norm",
    "use_pre_transformer_norm", "no_embed_class", "pos_embed", "use_abs_pos_emb", "act_layer", "rope_grid_indexing", "ref_feat_shape",
}  # fmt: skip


def timm_settings(
    said: Mapping[str, Any], where: Path
) -> tuple[dict[str, Any], tuple[str, ...] | None, dict[str, Any] | None]:
    """Returns what timm's config says of a model: fields of `ViTConfig`, class names, arguments of `Preprocessing`.

    All fields but `final_norm`: whether a file has `norm` or `fc_norm` tells where that is.

    Args:
        said: What `config.json` holds.
        where: Its path, for messages.

    Raises:
        InvalidArgumentError: The architecture, or an argument of it, is none that is built here.
        CorruptFileError: A field is not what timm writes there.

    Example:
        >>> said = {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 64, "global_pool": "avg"}}
        >>> fields, _, _ = timm_settings(said, Path("config.json"))
        >>> fields["image_size"], fields["pooling"]
        ((64, 64), 'mean')
    """
    name = str(said["architecture"])
    if name not in list_presets():
        raise InvalidArgumentError(
            f"{where}: timm's {name!r} is no preset here. The closest are {closest(name, list_presets())}: pass its path as the weights "
            "of one that has the same architecture."
        )
    base = load_preset(name).config
    cfg = said.get("pretrained_cfg", said)
    arguments = said.get("model_args") or {}
    if not isinstance(cfg, Mapping) or not isinstance(arguments, Mapping):
        raise CorruptFileError(f"{where}: expected tables for pretrained_cfg and model_args.")
    unknown = sorted(set(arguments) - _FIELDS.keys() - _CONVERTED - _NO_EFFECT)
    if unknown:
        raise InvalidArgumentError(
            f"{where}: model_args has {unknown}, which no model here knows; what they change would be lost."
        )
    arguments = {**_defaults(said, cfg, where), **arguments}
    pixels = {f"pixel_{key}": tuple(cfg[key]) if key in cfg else IMAGENET[f"pixel_{key}"] for key in ("mean", "std")}
    fields = _fields(arguments, base, where)
    try:
        config = base.replace(**fields, **pixels, map_includes_prefix=True)
        if config.pooling == "map" and config.num_prefix_tokens and not is_eva(config):
            config = config.replace(map_includes_prefix=bool(arguments.get("pool_include_prefix", False)))
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from error
    names = said.get("label_names", cfg.get("label_names"))
    stated = asdict(config)
    del stated["final_norm"]
    return (
        stated,
        tuple(map(str, names)) if isinstance(names, list) else None,
        _preprocessing(cfg, config),
    )


def _defaults(said: Mapping[str, Any], cfg: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns the arguments that timm takes from the pretrained config where model_args does not say them."""
    found: dict[str, Any] = {}
    pool = said.get("global_pool", cfg.get("global_pool"))
    if pool is not None:
        found["global_pool"] = pool
    size = cfg.get("input_size")
    if size is None:
        return found
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(type(side) is int for side in size):
        raise CorruptFileError(f"{where}: input_size={size!r} is not [channels, height, width].")
    found["in_chans"] = size[0]
    if cfg.get("fixed_input_size"):
        found["img_size"] = list(size[1:])
    return found


def _fields(arguments: Mapping[str, Any], base: ViTConfig, where: Path) -> dict[str, Any]:
    fields = {ours: arguments[theirs] for theirs, ours in _FIELDS.items() if theirs in arguments}
    if "img_size" in arguments:
        size = arguments["img_size"]
        fields["image_size"] = (size, size) if type(size) is int else tuple(size)
    if arguments.get("act_layer") is not None:
        activation = str(arguments["act_layer"])
        fields["activation"] = _ACTIVATIONS.get(activation, activation)
    if "qkv_bias" in arguments:
        fields["qkv_bias"] = (
            "none" if not arguments["qkv_bias"] else base.qkv_bias if base.qkv_bias != "none" else "all"
        )
    if "no_embed_class" in arguments:
        fields["position_on_prefix"] = not arguments["no_embed_class"]
    learned = {"pos_embed": ("learn",), "use_abs_pos_emb": (True,)}
    for argument, values in learned.items():
        if argument in arguments:
            fields["position_embedding"] = "learned" if arguments[argument] in values else "none"
    for argument in ("pre_norm", "use_pre_transformer_norm"):
        if argument in arguments:
            fields |= {"stem_norm": bool(arguments[argument]), "patch_bias": not arguments[argument]}
    if {"mlp_ratio", "embed_dim"} & arguments.keys():
        fields["mlp_dim"] = _mlp_dim(arguments, base)
    return fields | _rotary(arguments) | _pooling(arguments, where)


def _rotary(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments.get("use_rot_pos_emb") is False:
        none = {"rotary_embedding": "none", "rotary_order": "yx", "rotary_reference": None}
        return {**none, "rotary_temperature": 100.0}
    fields: dict[str, Any] = {}
    if "rope_type" in arguments:
        fields["rotary_embedding"] = _ROTARY.get(arguments["rope_type"], arguments["rope_type"])
    if "rope_grid_indexing" in arguments:
        fields["rotary_order"] = "yx" if arguments["rope_grid_indexing"] == "ij" else "xy"
    if "ref_feat_shape" in arguments:
        reference = arguments["ref_feat_shape"]
        fields["rotary_reference"] = tuple(reference) if isinstance(reference, list) else reference
    return fields


def _mlp_dim(arguments: Mapping[str, Any], base: ViTConfig) -> int:
    width = arguments.get("embed_dim", base.hidden_dim)
    packed = base.gated_mlp and not is_eva(base) and not has_split_gate(base)  # timm counts gate and value as one
    ratio = arguments.get("mlp_ratio", base.mlp_dim * (2 if packed else 1) / base.hidden_dim)
    return int(width * ratio) // (2 if packed else 1)


def _pooling(arguments: Mapping[str, Any], where: Path) -> dict[str, Any]:
    if arguments.get("final_norm", True) is False:
        raise InvalidArgumentError(f"{where}: its model has no final norm, and every model here has one.")
    if "global_pool" not in arguments:
        return {}
    pool = arguments["global_pool"]
    if pool not in _POOLING:
        raise InvalidArgumentError(
            f"{where}: global_pool={pool!r} is none of {sorted(_POOLING)}, which models here have."
        )
    return {"pooling": _POOLING[pool]}


def _preprocessing(cfg: Mapping[str, Any], config: ViTConfig) -> dict[str, Any]:
    interpolation = cfg.get("interpolation", "bicubic")
    return {
        "image_size": config.image_size,
        "crop": cfg.get("crop_pct", 0.875),
        "crop_mode": cfg.get("crop_mode", "center"),
        "interpolation": interpolation if interpolation in ("bilinear", "bicubic", "lanczos", "nearest") else "bicubic",
    }
