"""Reads open_clip_config.json, beside the files of OpenCLIP, with image towers of its own and of timm.

Compared with open_clip_torch 3, `model.py`, `transformer.py` and `timm_model.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.validation import list_words
from vit_keras.weights.mappings.config_fields import CLIP
from vit_keras.weights.settings.timm import timm_settings

OPEN_CLIP = "open_clip_config.json"
_POOLINGS = {"tok": "token", "avg": "mean"}
_CROP_MODES = {"shortest": "center", "squash": "squash"}
_DEFAULTS = {
    "layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224, "ls_init_value": None,
    "no_ln_pre": False, "final_ln_after_pool": False, "pool_type": "tok", "act_kwargs": None, "norm_kwargs": None,
}  # fmt: skip
_NO_EFFECT = {"patch_dropout", "output_tokens", "pos_embed_type"}
"""Arguments that change no output of a trained model; the positions are in the file whatever they are."""


def open_clip_settings(config_json: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns what OpenCLIP's config says of the image tower, as arguments of `Settings`."""
    model, preprocess = config_json.get("model_cfg"), config_json.get("preprocess_cfg") or {}
    vision = model.get("vision_cfg") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(vision, Mapping) or not isinstance(preprocess, Mapping):
        raise CorruptFileError(f'{where}: expected a JSON object with "model_cfg", and "vision_cfg" in it.')
    pixels = {
        f"pixel_{key}": tuple(preprocess[key]) if preprocess.get(key) else CLIP[f"pixel_{key}"]
        for key in ("mean", "std")
    }
    if vision.get("timm_model_name"):
        return _read_timm_tower(vision, preprocess, pixels, where)
    values = {**_DEFAULTS, **{name: value for name, value in vision.items() if name not in _NO_EFFECT}}
    unknown = sorted(name for name in values.keys() - _DEFAULTS.keys() if values[name] and not _is_of_other_tower(name))
    if unknown or values["pool_type"] not in _POOLINGS or not isinstance(values["layers"], int):
        raise InvalidArgumentError(
            f"{where}: vision_cfg has {list_words(unknown) if unknown else 'layers or pool_type'} of an image tower that vit_keras does not build."
        )
    try:
        side = values["image_size"]
        size = (side, side) if isinstance(side, int) else tuple(side)
        stated = {
            "image_size": size,
            "patch_size": values["patch_size"],
            "hidden_dim": values["width"],
            "num_layers": values["layers"],
            "num_heads": values["width"] // values["head_width"],
            "mlp_dim": int(values["width"] * values["mlp_ratio"]),
            "layer_scale": values["ls_init_value"],
            "stem_norm": not values["no_ln_pre"],
            "patch_bias": False,
            "pooling": _POOLINGS[values["pool_type"]],
            "final_norm": "after" if values["final_ln_after_pool"] else "before",
            "norm_epsilon": (values["norm_kwargs"] or {}).get("eps", 1e-5),
            "activation": _read_activation(model, values["act_kwargs"] or {}),
            **pixels,
        }
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise CorruptFileError(f"{where}: vision_cfg has a field that is no number ({error}).") from error
    return {"stated": stated, "class_names": (), "preprocessing": _read_preprocessing(preprocess, size)}


def _is_of_other_tower(name: str) -> bool:
    return name.startswith(("timm_", "attn_pooler_"))


def _read_activation(model: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    if model.get("quick_gelu"):
        return "quick_gelu"
    return "gelu_tanh" if arguments.get("approximate") == "tanh" else "gelu"


def _read_timm_tower(
    vision: Mapping[str, Any], preprocess: Mapping[str, Any], pixels: Mapping[str, Any], where: Path
) -> dict[str, Any]:
    side = vision.get("image_size", _DEFAULTS["image_size"])
    sides = [side, side] if isinstance(side, int) else list(side)
    pool = vision.get("timm_pool", "avg")
    described = {
        "architecture": vision["timm_model_name"],
        "model_args": {"global_pool": pool} if pool else {},
        "pretrained_cfg": {
            "mean": pixels["pixel_mean"],
            "std": pixels["pixel_std"],
            "input_size": [3, *sides],
            "fixed_input_size": True,
        },
    }
    return {**timm_settings(described, where), "preprocessing": _read_preprocessing(preprocess, tuple(sides))}


def _read_preprocessing(preprocess: Mapping[str, Any], image_size: tuple[int, ...]) -> dict[str, Any] | None:
    """Returns the arguments of `Preprocessing`; None for a mode that it does not have."""
    mode = _CROP_MODES.get(preprocess.get("resize_mode") or "shortest")
    if mode is None:
        return None
    interpolation = preprocess.get("interpolation")
    return {
        "image_size": image_size,
        "crop_mode": mode,
        "interpolation": interpolation if interpolation in ("bilinear", "bicubic") else "bicubic",
    }
