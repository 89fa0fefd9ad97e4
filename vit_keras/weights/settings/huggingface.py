"""Reads transformers' config.json.

A row of `_KINDS` says how the config of one `model_type` becomes fields of `ViTConfig`: transformers' defaults for what the file leaves
out, the fields that are only renamed (`config_fields.py`), and a function for those that need more. Compared with transformers 5.23, the
`configuration_*.py` of each model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.validation import list_words
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.config_fields import (
    CLIP,
    HALF,
    HF_ACTIVATIONS,
    HF_FIELDS,
    HF_SHARED_FIELDS,
    IMAGENET,
    dinov2_mlp_dim,
)
from vit_keras.weights.settings.huggingface_processor import (
    complete_processor,
    normalize_twice,
    read_packing,
    read_pixel_statistics,
    read_preprocessing,
)

_ACTIVATIONS = {
    **{theirs: ours for ours, theirs in HF_ACTIVATIONS.items()},
    "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "swish": "silu",
}  # fmt: skip


def _qkv_bias(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"qkv_bias": "all" if values["qkv_bias"] else "none"}


def _dinov2(values: Mapping[str, Any]) -> dict[str, Any]:
    gated = bool(values["use_swiglu_ffn"])
    mlp_dim = dinov2_mlp_dim(values["hidden_size"], values["mlp_ratio"], gated=gated)
    return {**_qkv_bias(values), **({"activation": "silu"} if gated else {}), "mlp_dim": mlp_dim}


def _dinov3(values: Mapping[str, Any]) -> dict[str, Any]:
    biases = (values["query_bias"], values["key_bias"], values["value_bias"])
    qkv_bias = {(True, True, True): "all", (True, False, True): "query_value", (False, False, False): "none"}
    if biases not in qkv_bias:
        raise InvalidArgumentError(f"query_bias, key_bias and value_bias are {biases}, which vit_keras does not build")
    return {"qkv_bias": qkv_bias[biases], "position_embedding": "none", "rotary_embedding": "centered"}


def _siglip2(values: Mapping[str, Any]) -> dict[str, Any]:
    side = math.isqrt(values["num_patches"])  # of the grid of the positions
    return {
        "class_token": False,
        "image_size": (side * values["patch_size"],) * 2,
        "max_num_patches": values["num_patches"],
    }


def _radio(values: Mapping[str, Any]) -> dict[str, Any]:
    if values["use_swiglu_ffn"]:
        raise InvalidArgumentError("use_swiglu_ffn is true, and no published RADIO has a gated MLP")
    return {
        **_qkv_bias(values),
        "mlp_dim": int(values["hidden_size"] * values["mlp_ratio"]),
        "num_registers": values["num_cls_tokens"] + values["num_registers"] - 1,
        "position_on_prefix": False,
        "pixel_mean": tuple(values["norm_mean"]),
        "pixel_std": tuple(values["norm_std"]),
        "final_norm": "none",
    }


def _internvl(values: Mapping[str, Any]) -> dict[str, Any]:
    if values["use_qk_norm"] or values["norm_type"] != "layer_norm":
        raise InvalidArgumentError(
            f"norm_type={values['norm_type']!r} and use_qk_norm={values['use_qk_norm']!r}, and vit_keras builds InternVL's towers "
            'with norm_type="layer_norm" and without norms of queries and keys'
        )
    return {"qkv_bias": "all" if values["attention_bias"] else "none"}


def _clip(_: Mapping[str, Any]) -> dict[str, Any]:
    return {"stem_norm": True, "patch_bias": False}


def _beit(values: Mapping[str, Any]) -> dict[str, Any]:
    own, shared = (bool(values[f"use_{name}relative_position_bias"]) for name in ("", "shared_"))
    if own and shared:
        raise InvalidArgumentError(
            "use_relative_position_bias and use_shared_relative_position_bias are both true, and vit_keras builds one of them"
        )
    return {
        "qkv_bias": "query_value",
        "layer_scale": values["layer_scale_init_value"] or None,
        "position_embedding": "learned" if values["use_absolute_position_embeddings"] else "none",
        "relative_position": "table" if own or shared else "none",
        "relative_position_shared": shared,
    }


def _aimv2(values: Mapping[str, Any]) -> dict[str, Any]:
    qkv_bias = values["qkv_bias"] or values.get("use_bias", False)
    if qkv_bias or values["mlp_bias"]:
        raise InvalidArgumentError(
            "qkv_bias, use_bias or mlp_bias is true, and published AIMv2 models have no such biases"
        )
    fixed = {"class_token": False, "norm": "rms", "patch_norm": True, "gated_mlp": True}
    fixed["position_embedding"] = "sincos2d_mae" if values["is_native"] else "learned"
    return {**fixed, "qkv_bias": "none", "projection_bias": False}


@dataclass(frozen=True)
class _Kind:
    defaults: Mapping[str, Any]  # transformers' own, for fields that a file leaves out
    fields: Callable[[Mapping[str, Any]], dict[str, Any]]  # fields that need more than a rename
    pixels: Mapping[str, Any] = field(default_factory=dict)  # statistics of all published models of the kind
    position_resize: str = "bicubic"


_SIZES = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_channels": 3, "image_size": 224, "patch_size": 16,
    "hidden_act": "gelu", "intermediate_size": 3072, "layer_norm_eps": 1e-12, "qkv_bias": True,
}  # fmt: skip
_DINOV2 = {
    **_SIZES, "layer_norm_eps": 1e-6, "patch_size": 14, "mlp_ratio": 4, "use_swiglu_ffn": False, "layerscale_value": 1.0,
}  # fmt: skip
_DINOV3 = {
    **_SIZES, "layer_norm_eps": 1e-5, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "rope_theta": 100.0,
    "query_bias": True, "key_bias": False, "value_bias": True, "layerscale_value": 1.0, "use_gated_mlp": False,
    "num_register_tokens": 0,
}  # fmt: skip
_RADIO = {
    **_SIZES, "layer_norm_eps": 1e-6, "hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "mlp_ratio": 4.0,
    "use_swiglu_ffn": False, "num_cls_tokens": 3, "num_registers": 7, "layerscale_value": 1.0, "norm_mean": CLIP["pixel_mean"],
    "norm_std": CLIP["pixel_std"],
}  # fmt: skip
_INTERNVL = {
    **_SIZES, "layer_norm_eps": 1e-6, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "image_size": 448, "patch_size": 14, "attention_bias": False, "use_qk_norm": False, "norm_type": "layer_norm",
    "layer_scale_init_value": 0.1,
}  # fmt: skip
_SIGLIP = {**_SIZES, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"}
_CLIP = {**_SIZES, "layer_norm_eps": 1e-5, "patch_size": 32, "hidden_act": "quick_gelu"}

_BEIT = {
    **_SIZES, "use_relative_position_bias": False, "use_shared_relative_position_bias": False, "layer_scale_init_value": 0.1,
    "use_absolute_position_embeddings": False,
}  # fmt: skip
_AIMV2 = {
    **_SIZES, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 8, "patch_size": 14, "intermediate_size": 2816,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "qkv_bias": False, "mlp_bias": False, "is_native": False,
}  # fmt: skip

_KINDS = {
    "vit": _Kind(_SIZES, _qkv_bias),
    "deit": _Kind(_SIZES, lambda values: {**_qkv_bias(values), "distillation_token": True}, IMAGENET),
    "vit_mae": _Kind(_SIZES, _qkv_bias, IMAGENET),
    "vit_msn": _Kind({**_SIZES, "layer_norm_eps": 1e-6}, _qkv_bias, IMAGENET),
    "ijepa": _Kind(_SIZES, lambda values: {**_qkv_bias(values), "class_token": False}, IMAGENET),
    "dinov2": _Kind(_DINOV2, _dinov2, IMAGENET),
    "dinov2_with_registers": _Kind(
        {**_DINOV2, "patch_size": 16, "num_register_tokens": 4}, lambda values: {**_dinov2(values), "position_on_prefix": False},
        IMAGENET, "bicubic_antialias",
    ),
    "dinov3_vit": _Kind(_DINOV3, _dinov3, IMAGENET),
    "radio": _Kind(_RADIO, _radio, position_resize="bilinear_crop"),
    "internvl_vision": _Kind(_INTERNVL, _internvl, IMAGENET),
    "beit": _Kind(_BEIT, _beit, HALF),
    "data2vec-vision": _Kind(_BEIT, _beit, IMAGENET),
    "aimv2_vision_model": _Kind(_AIMV2, _aimv2, CLIP),
    "siglip_vision_model": _Kind(_SIGLIP, lambda _: {"class_token": False}, HALF),
    "siglip2_vision_model": _Kind({**_SIGLIP, "num_patches": 256}, _siglip2, HALF, "bilinear_antialias"),
    "clip_vision_model": _Kind(_CLIP, _clip, CLIP),
    "owlvit_vision_model": _Kind({**_CLIP, "image_size": 768}, _clip, CLIP),
    "owlv2_vision_model": _Kind({**_CLIP, "image_size": 768, "patch_size": 16}, _clip, CLIP),
}  # fmt: skip
# Models of images and text, of which the image tower is read.
_TOWERS = {
    **{name: f"{name}_vision_model" for name in ("siglip", "siglip2", "clip", "owlvit", "owlv2", "aimv2")},
    "internvl": "internvl_vision",
}
_POSITIONS_OF_AIMV2 = {
    "embeddings.position_embedding.weight",
    "pos_embed",
}  # learned ones, in the files of both libraries
_FLAT = ("aimv2",)  # also of towers alone, whose fields then stand on the outside


def find_kind(config_json: Mapping[str, Any], where: Path) -> tuple[str, _Kind, Mapping[str, Any]]:
    """Returns the `model_type` of the Vision Transformer in transformers' config.json, its row of `_KINDS`, and its fields.

    Raises:
        InvalidArgumentError: It is of another model.
    """
    model_type = str(config_json["model_type"])
    values: Any = config_json
    if model_type in _TOWERS:
        model_type = _TOWERS[model_type]
        values = config_json.get("vision_config") or (config_json if values["model_type"] in _FLAT else {})
    kind = _KINDS.get(model_type)
    if kind is None or not isinstance(values, Mapping):
        raise InvalidArgumentError(
            f'{where}: model_type="{model_type}" is none of the Vision Transformers of transformers that can be read: '
            f"{list_words(sorted([*_KINDS, *_TOWERS]))}."
        )
    return model_type, kind, values


def huggingface_settings(
    config_json: Mapping[str, Any], processor: Any, tensors: Mapping[str, TensorInfo], where: Path
) -> dict[str, Any]:
    """Returns what transformers' files say of a model, as arguments of `Settings`."""
    model_type, kind, values = find_kind(config_json, where)
    values = {**kind.defaults, **values}
    of_others = HF_FIELDS["beit"] if model_type == "data2vec-vision" else HF_FIELDS["vit"]
    renames = HF_FIELDS.get(model_type, of_others)
    activation = str(values["hidden_act"])
    image_size = _read_sides(values["image_size"], where)
    try:
        stated = {
            **{ours: values[theirs] for theirs, ours in (HF_SHARED_FIELDS | renames).items()},
            "image_size": image_size,
            "patch_size": _read_sides(values["patch_size"], where)[0],
            "activation": _ACTIVATIONS.get(activation, activation),
            "position_resize": kind.position_resize,
            **kind.fields(values),
        }
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{where}: {error}.") from error
    if any(side % stated["patch_size"] for side in stated["image_size"]):
        stated["partial_patches"] = "crop"
    if model_type == "deit" and "embeddings.distillation_token" not in tensors and tensors:
        stated["distillation_token"] = False
    if model_type == "radio" and not any("layer_scale1" in name or ".ls1." in name for name in tensors):
        stated["layer_scale"] = None
    if model_type == "aimv2_vision_model" and tensors and not tensors.keys() & _POSITIONS_OF_AIMV2:
        stated["position_embedding"] = "sincos2d_mae"  # Apple's own config.json does not say it
    preprocessing = None
    if processor is not None:
        processor = complete_processor(processor, where)
        statistics = read_pixel_statistics(processor, where)
        stated |= normalize_twice(statistics, stated) if model_type == "radio" else statistics
        if model_type == "siglip2_vision_model":
            stated["max_num_patches"] = processor.get("max_num_patches", stated["max_num_patches"])
            preprocessing = read_packing(processor, stated, where)
        else:
            preprocessing = read_preprocessing(processor, image_size, where)
    names = _read_class_names(config_json)
    return {"stated": stated, "convention": kind.pixels, "class_names": names, "preprocessing": preprocessing}


def _read_class_names(config_json: Mapping[str, Any]) -> tuple[str, ...]:
    labels = config_json.get("id2label")
    if not isinstance(labels, Mapping):
        return ()
    placeholders = [f"LABEL_{index}" for index in range(len(labels))]  # of transformers, for classes without a name
    names = tuple(str(labels.get(str(index), name)) for index, name in enumerate(placeholders))
    is_named = any(name not in ("", placeholder) for name, placeholder in zip(names, placeholders, strict=True))
    return names if is_named else ()


def _read_sides(value: Any, where: Path) -> tuple[int, int]:
    sides = (value, value) if type(value) is int else tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise CorruptFileError(
            f"{where}: {value!r} is not a size of images or patches; expected a number of px, or two."
        )
    return sides
