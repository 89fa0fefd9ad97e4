"""Reads timm's config.json.

Compared with timm 1.0.31, `_hub.py`, `_builder.py`, `vision_transformer.py`, `vision_transformer_relpos.py`, `deit.py`, `beit.py`,
`eva.py` and `naflexvit.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.presets import list_presets, load_preset
from vit_keras.presets.label_sets import find_label_set, label_names, names_by_synset
from vit_keras.validation import closest, list_words
from vit_keras.weights.formats.tensor_file import prefix_errors
from vit_keras.weights.mappings.config_fields import (
    IMAGENET,
    TIMM_EVA_FIELDS,
    TIMM_NAFLEX_RESIZES,
    TIMM_NEWER_EVA_FIELDS,
    TIMM_POOLS,
    TIMM_SHARED_FIELDS,
    TIMM_VIT_FIELDS,
)
from vit_keras.weights.mappings.libraries.timm import has_split_gate, is_eva

_FIELDS = {**TIMM_SHARED_FIELDS, **TIMM_VIT_FIELDS, **TIMM_EVA_FIELDS, **TIMM_NEWER_EVA_FIELDS}
del _FIELDS["pre_norm"]  # sets stem_norm and patch_bias
_POOLING = {theirs: ours for ours, theirs in TIMM_POOLS.items()}
_ROTARY = {"cat": "axial", "mixed": "mixed", "dinov3": "centered"}
_ACTIVATIONS = {
    "gelu": "gelu", "gelu_tanh": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "quickgelu": "quick_gelu",
    "silu": "silu", "swish": "silu",
}  # fmt: skip
_NO_EFFECT = {
    "num_classes", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate",
    "weight_init", "fix_init", "head_init_scale", "dynamic_img_size", "dynamic_img_pad", "qkv_fused", "swiglu_align_to",
    "rope_shift_coords", "rope_jitter_coords", "rope_rescale_coords", "fc_norm", "use_fc_norm", "use_key_only_attn_mask",
}  # fmt: skip
"""Arguments that change no output of a trained model, or that the tensors' names reveal."""

_CONVERTED = {
    "img_size", "global_pool", "pool_include_prefix", "final_norm", "use_post_transformer_norm", "use_rot_pos_emb", "rope_type",
    "mlp_ratio", "qkv_bias", "pre_norm", "use_pre_transformer_norm", "no_embed_class", "pos_embed", "use_abs_pos_emb", "act_layer",
    "rope_grid_indexing", "ref_feat_shape", "attn_pool_mlp_ratio", "use_rel_pos_bias", "use_shared_rel_pos_bias", "rel_pos_type", "rel_pos_dim",
    "shared_rel_pos", "pos_embed_grid_size", "pos_embed_interp_mode", "pos_embed_antialias", "pos_embed_align_corners",
    "pos_embed_ar_preserving", "use_post_norm",
}  # fmt: skip


def timm_settings(config_json: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns what timm's config says of a model, as arguments of `Settings`."""
    name = str(config_json["architecture"])
    if name not in list_presets():
        raise InvalidArgumentError(
            f"{where}: timm's architecture {name!r} is no preset of vit_keras. The closest are {list_words(closest(name, list_presets()))}: load "
            "one of the same architecture, with this path as its weights."
        )
    preset = load_preset(name)
    base = preset.config
    cfg = config_json.get("pretrained_cfg", config_json)
    arguments = config_json.get("model_args") or {}
    if not isinstance(cfg, Mapping) or not isinstance(arguments, Mapping):
        raise CorruptFileError(f"{where}: expected JSON objects for pretrained_cfg and model_args.")
    unknown = sorted(set(arguments) - _FIELDS.keys() - _CONVERTED - _NO_EFFECT)
    if unknown:
        raise InvalidArgumentError(
            f"{where}: model_args has {list_words(unknown)}, which vit_keras does not know and cannot ignore."
        )
    is_packed = base.max_num_patches is not None
    # Of DINOv3, timm pools the mean by default, and the preset the class token, as Meta does.
    defaults = {"global_pool": "avg"} if preset.family == "dinov3" else {}
    arguments = {**defaults, **_read_defaults(config_json, cfg, where), **arguments}
    pixels = {f"pixel_{key}": tuple(cfg[key]) if key in cfg else IMAGENET[f"pixel_{key}"] for key in ("mean", "std")}
    fields = _read_fields(arguments, base, where)
    if is_packed:
        fields |= _read_naflex(arguments, base, cfg, where)
    with prefix_errors(where):
        config = base.replace(**fields, **pixels, map_includes_prefix=True)
        if config.pooling == "map" and config.num_prefix_tokens and not is_eva(config):
            # timm leaves them out, unless the architecture or an argument says otherwise.
            includes = base.pooling == "map" and base.map_includes_prefix
            config = config.replace(map_includes_prefix=bool(arguments.get("pool_include_prefix", includes)))
    stated = asdict(config)
    if config.final_norm != "none":
        del stated["final_norm"]  # the tensors reveal it: a file has norm or fc_norm
    interpolation = cfg.get("interpolation", "bicubic")
    preprocessing = {
        "image_size": config.image_size,
        "crop": cfg.get("crop_pct", 0.875),
        "crop_mode": cfg.get("crop_mode", "center"),
        "interpolation": interpolation if interpolation in ("bilinear", "bicubic", "lanczos", "nearest") else "bicubic",
    }
    if is_packed:
        sizes = {name: getattr(config, name) for name in ("image_size", "patch_size", "max_num_patches")}
        preprocessing = {**sizes, "interpolation": preprocessing["interpolation"]}
    return {"stated": stated, **_read_class_names(config_json, cfg), "preprocessing": preprocessing}


def _read_class_names(config_json: Mapping[str, Any], cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the class names: those of the file, or those of the label set that its tag and number of classes suggest."""
    names, tag = config_json.get("label_names", cfg.get("label_names")), cfg.get("tag")
    if isinstance(names, list):
        words = names_by_synset(tuple(map(str, names)))
        return {"class_names": tuple(words.get(str(name), str(name)) for name in names)}
    num_classes = config_json.get("num_classes", cfg.get("num_classes"))
    is_count = type(num_classes) is int
    label_set = find_label_set(num_classes, tag if isinstance(tag, str) else None) if is_count else None
    return {"class_names": () if label_set is None else label_names(label_set), "label_set": label_set}


def _read_defaults(config_json: Mapping[str, Any], cfg: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns the arguments that timm takes from the pretrained config where model_args leaves them out."""
    found: dict[str, Any] = {}
    pool = config_json.get("global_pool", cfg.get("global_pool"))
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


def _read_fields(arguments: Mapping[str, Any], base: ViTConfig, where: Path) -> dict[str, Any]:
    fields = {ours: arguments[theirs] for theirs, ours in _FIELDS.items() if theirs in arguments}
    if "img_size" in arguments:
        size = arguments["img_size"]
        fields["image_size"] = (size, size) if type(size) is int else tuple(size)
    if arguments.get("act_layer") is not None:
        activation = str(arguments["act_layer"])
        fields["activation"] = _ACTIVATIONS.get(activation, activation)
    if "qkv_bias" in arguments:
        with_bias = base.qkv_bias if base.qkv_bias != "none" else "all"
        fields["qkv_bias"] = with_bias if arguments["qkv_bias"] else "none"
    if "use_post_norm" in arguments:
        fields["block_norm"] = "after" if arguments["use_post_norm"] else "before"
    if "no_embed_class" in arguments:
        fields["position_on_prefix"] = not arguments["no_embed_class"]
    for argument, learned in (("pos_embed", ("learn", "learned")), ("use_abs_pos_emb", (True,))):
        if argument in arguments:
            fields["position_embedding"] = "learned" if arguments[argument] in learned else "none"
    for argument in ("pre_norm", "use_pre_transformer_norm"):
        if argument in arguments:
            fields |= {"stem_norm": bool(arguments[argument]), "patch_bias": not arguments[argument]}
    if {"mlp_ratio", "embed_dim"} & arguments.keys():
        fields["mlp_dim"] = _compute_mlp_dim(arguments, base)
    norms = [arguments.get(name) for name in ("final_norm", "use_post_transformer_norm", "use_fc_norm")]
    if norms[0] is False or norms[1:] == [False, False]:
        fields["final_norm"] = "none"
    elif base.final_norm == "none" and any(norms):
        fields["final_norm"] = "before"
    if "global_pool" in arguments:
        pool = arguments["global_pool"]
        if pool not in _POOLING:
            raise InvalidArgumentError(f"{where}: global_pool={pool!r} is none of {list_words(sorted(_POOLING))}.")
        fields["pooling"] = _POOLING[pool]
    if fields.get("pooling", base.pooling) != "map":
        fields.pop("num_map_heads", None)
    elif {"attn_pool_mlp_ratio", "mlp_ratio", "embed_dim"} & arguments.keys() and is_eva(base):
        fields["map_mlp_dim"] = _compute_map_mlp_dim(arguments, base)
    height, width = fields.get("image_size", base.image_size)
    patch_size = fields.get("patch_size", base.patch_size)
    if type(patch_size) is int and patch_size > 0 and (height % patch_size or width % patch_size):
        fields["partial_patches"] = "crop"
    return fields | _read_rotary(arguments) | _read_relative_position(arguments, base, where)


def _read_naflex(arguments: Mapping[str, Any], base: ViTConfig, cfg: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns the fields that only `NaFlexVit` states: positions, and as many patches as the input size has."""
    fields: dict[str, Any] = {}
    patch_size = arguments.get("patch_size", base.patch_size)
    grid, size = arguments.get("pos_embed_grid_size", base.grid_size), cfg.get("input_size")
    if isinstance(grid, list | tuple) and len(grid) == 2:
        fields["image_size"] = (grid[0] * patch_size, grid[1] * patch_size)
    if isinstance(size, list | tuple):  # checked by `_read_defaults`
        fields["max_num_patches"] = (size[1] // patch_size) * (size[2] // patch_size)
    of_base = TIMM_NAFLEX_RESIZES[base.position_resize]
    stated = {name: arguments.get(name, value) for name, value in of_base.items()}
    rules = [rule for rule, values in TIMM_NAFLEX_RESIZES.items() if values == stated]
    if not rules:
        raise InvalidArgumentError(f"{where}: its positions are resized with {stated}, which vit_keras does not build.")
    return {**fields, "position_resize": rules[0]}


def _read_rotary(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments.get("use_rot_pos_emb") is False:
        defaults = {"rotary_order": "yx", "rotary_reference": None, "rotary_offset": 0.0, "rotary_temperature": 100.0}
        return {"rotary_embedding": "none", **defaults}
    fields: dict[str, Any] = {}
    if "rope_type" in arguments:
        fields["rotary_embedding"] = _ROTARY.get(arguments["rope_type"], arguments["rope_type"])
    if "rope_grid_indexing" in arguments:
        fields["rotary_order"] = "yx" if arguments["rope_grid_indexing"] == "ij" else "xy"
    if "ref_feat_shape" in arguments:
        reference = arguments["ref_feat_shape"]
        fields["rotary_reference"] = tuple(reference) if isinstance(reference, list) else reference
    return fields


def _read_relative_position(arguments: Mapping[str, Any], base: ViTConfig, where: Path) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if {"use_rel_pos_bias", "use_shared_rel_pos_bias"} & arguments.keys():  # of Beit
        own, shared = (bool(arguments.get(f"use_{name}rel_pos_bias", False)) for name in ("", "shared_"))
        if own and shared:
            raise InvalidArgumentError(
                f"{where}: use_rel_pos_bias and use_shared_rel_pos_bias are both true, and vit_keras builds one of them."
            )
        fields = {"relative_position": "table" if own or shared else "none", "relative_position_shared": shared}
    kind = arguments.get("rel_pos_type")  # of VisionTransformerRelPos
    if kind not in (None, "mlp", "bias"):
        raise InvalidArgumentError(f"{where}: rel_pos_type={kind!r} is none of mlp, bias, which vit_keras builds.")
    if kind is not None:
        fields["relative_position"] = "mlp" if kind == "mlp" else "table"
    if arguments.get("rel_pos_dim") is not None:
        fields["relative_position_dim"] = arguments["rel_pos_dim"]
    if "shared_rel_pos" in arguments:
        fields["relative_position_shared"] = bool(arguments["shared_rel_pos"])
    if fields.get("relative_position", base.relative_position) != "mlp":
        fields["relative_position_dim"] = 128  # the default, for a bias without a network
    return fields


def _compute_mlp_dim(arguments: Mapping[str, Any], base: ViTConfig) -> int:
    width = arguments.get("embed_dim", base.hidden_dim)
    # timm's mlp_ratio counts a packed gate and value together.
    factor = 2 if base.gated_mlp and not is_eva(base) and not has_split_gate(base) else 1
    ratio = arguments.get("mlp_ratio", base.mlp_dim * factor / base.hidden_dim)
    return int(width * ratio) // factor


def _compute_map_mlp_dim(arguments: Mapping[str, Any], base: ViTConfig) -> int | None:
    """Returns the width of the MLP in the attention pooling of timm's `Eva`; None for that of the blocks."""
    width, ratio = arguments.get("embed_dim", base.hidden_dim), arguments.get("attn_pool_mlp_ratio")
    if ratio is None and base.pooling == "map":
        ratio = (base.map_mlp_dim or base.mlp_dim) / base.hidden_dim
    return None if ratio is None else int(width * ratio)
