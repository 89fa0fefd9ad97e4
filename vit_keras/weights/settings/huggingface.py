"""Reads transformers' `config.json` and `preprocessor_config.json`: fields of `ViTConfig`, class names, preprocessing.

What was compared: transformers 5.23, the `configuration_*.py` and `image_processing_*.py` of each model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.pixel_statistics import CLIP, HALF, IMAGENET
from vit_keras.weights.writers.huggingface_config import ACTIVATIONS, OWN_FIELDS, SHARED_FIELDS
from vit_keras.weights.writers.huggingface_preprocessor import RESAMPLES

PREPROCESSOR = "preprocessor_config.json"
"""The file that says how images are prepared."""

_ACTIVATIONS = {
    **{theirs: ours for ours, theirs in ACTIVATIONS.items()},
    "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "swish": "silu",
}  # fmt: skip
"""transformers' names of activations, and ours."""

_INTERPOLATIONS = {number: name for name, number in RESAMPLES.items()}


@dataclass(frozen=True, kw_only=True)
class HuggingFaceSettings:
    """What transformers' files say of a model.

    Args:
        stated: Fields of `ViTConfig`.
        convention: Fields that the model's kind has by convention, where the files do not say them.
        class_names: What the head's outputs mean; none where only numbers are said.
        preprocessing: Arguments of `Preprocessing`, or None where no file says them.
    """

    stated: Mapping[str, Any]
    convention: Mapping[str, Any]
    class_names: tuple[str, ...]
    preprocessing: Mapping[str, Any] | None


@dataclass(frozen=True)
class _Kind:
    defaults: Mapping[str, Any]  # of transformers' config, for what a file leaves out
    fields: Callable[[Mapping[str, Any]], dict[str, Any]]  # what is no mere other name
    own_fields: Mapping[str, str]
    pixels: Mapping[str, Any] = field(default_factory=dict)  # of all published models of the kind
    position_resize: str = "bicubic"


_SIZES = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_channels": 3, "image_size": 224, "patch_size": 16,
    "hidden_act": "gelu", "intermediate_size": 3072, "layer_norm_eps": 1e-12, "qkv_bias": True,
}  # fmt: skip
_DINOV2 = {
    **_SIZES,
    "layer_norm_eps": 1e-6,
    "patch_size": 14,
    "mlp_ratio": 4,
    "use_swiglu_ffn": False,
    "layerscale_value": 1.0,
}
_TOWER = {**_SIZES, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"}


def _plain(said: Mapping[str, Any]) -> dict[str, Any]:
    return {"qkv_bias": "all" if said["qkv_bias"] else "none"}


def _dinov2(said: Mapping[str, Any]) -> dict[str, Any]:
    inside = int(said["hidden_size"] * said["mlp_ratio"])
    if said["use_swiglu_ffn"]:
        return {**_plain(said), "activation": "silu", "mlp_dim": (int(inside * 2 / 3) + 7) // 8 * 8}
    return {**_plain(said), "mlp_dim": inside}


def _dinov3(said: Mapping[str, Any]) -> dict[str, Any]:
    biases = (said["query_bias"], said["key_bias"], said["value_bias"])
    qkv_bias = {(True, True, True): "all", (True, False, True): "query_value", (False, False, False): "none"}
    if biases not in qkv_bias:
        raise InvalidArgumentError(f"query_bias, key_bias and value_bias are {biases}, which no model here has")
    return {"qkv_bias": qkv_bias[biases], "position_embedding": "none", "rotary_embedding": "centered"}


_DINOV3 = {
    **_SIZES, "layer_norm_eps": 1e-5, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "rope_theta": 100.0,
    "query_bias": True, "key_bias": False, "value_bias": True, "layerscale_value": 1.0, "use_gated_mlp": False,
    "num_register_tokens": 0,
}  # fmt: skip
_CLIP = {**_SIZES, "layer_norm_eps": 1e-5, "patch_size": 32, "hidden_act": "quick_gelu"}

_VIT_FIELDS = OWN_FIELDS["vit"]
_KINDS = {
    "vit": _Kind(_SIZES, _plain, _VIT_FIELDS),
    "deit": _Kind(_SIZES, lambda said: {**_plain(said), "distillation_token": True}, OWN_FIELDS["deit"], IMAGENET),
    "vit_mae": _Kind(_SIZES, _plain, _VIT_FIELDS, IMAGENET),
    "vit_msn": _Kind({**_SIZES, "layer_norm_eps": 1e-6}, _plain, _VIT_FIELDS, IMAGENET),
    "ijepa": _Kind(_SIZES, lambda said: {**_plain(said), "class_token": False}, _VIT_FIELDS, IMAGENET),
    "dinov2": _Kind(_DINOV2, _dinov2, OWN_FIELDS["dinov2"], IMAGENET),
    "dinov2_with_registers": _Kind(
        {**_DINOV2, "patch_size": 16, "num_register_tokens": 4}, lambda said: {**_dinov2(said), "position_on_prefix": False},
        OWN_FIELDS["dinov2_with_registers"], IMAGENET, "bicubic_antialias",
    ),
    "dinov3_vit": _Kind(_DINOV3, _dinov3, OWN_FIELDS["dinov3_vit"], IMAGENET),
    "siglip_vision_model": _Kind(_TOWER, lambda _: {"class_token": False}, OWN_FIELDS["siglip_vision_model"], HALF),
    "clip_vision_model": _Kind(
        _CLIP, lambda _: {"stem_norm": True, "patch_bias": False}, OWN_FIELDS["clip_vision_model"], CLIP
    ),
}  # fmt: skip
_TOWERS = {
    "siglip": "siglip_vision_model",
    "clip": "clip_vision_model",
}  # models of images and text, whose tower is read


def huggingface_settings(
    said: Mapping[str, Any], processor: Any, tensors: Mapping[str, TensorInfo], where: Path
) -> HuggingFaceSettings:
    """Returns what transformers' files say of a model.

    Args:
        said: What `config.json` holds.
        processor: What `preprocessor_config.json` holds, or None where there is none.
        tensors: The tensors beside it, by its table's names.
        where: The config's path, for messages.

    Raises:
        InvalidArgumentError: It is of a model that is not built here.
        CorruptFileError: A field is not what transformers writes there.

    Example:
        >>> said = {"model_type": "vit", "hidden_act": "quick_gelu", "id2label": {"0": "cat", "1": "dog"}}
        >>> found = huggingface_settings(said, None, {}, Path("config.json"))
        >>> found.stated["activation"], found.stated["norm_epsilon"], found.class_names
        ('quick_gelu', 1e-12, ('cat', 'dog'))
    """
    model_type = str(said["model_type"])
    names = _class_names(said)
    if model_type in _TOWERS:
        model_type = _TOWERS[model_type]
        said = said.get("vision_config") or {}
    kind = _KINDS.get(model_type)
    if kind is None or not isinstance(said, Mapping):
        raise InvalidArgumentError(
            f'{where}: model_type="{model_type}" is none of the Vision Transformers of transformers that are read here: '
            f"{sorted([*_KINDS, *_TOWERS])}."
        )
    said = {**kind.defaults, **said}
    activation = str(said["hidden_act"])
    height, width = _sides(said["image_size"], where)
    try:
        stated = {
            "image_size": (height, width),
            "patch_size": _sides(said["patch_size"], where)[0],
            **{ours: said[theirs] for theirs, ours in SHARED_FIELDS.items() if theirs != "patch_size"},
            **{ours: said[theirs] for theirs, ours in kind.own_fields.items()},
            "activation": _ACTIVATIONS.get(activation, activation),
            "position_resize": kind.position_resize,
            **kind.fields(said),
        }
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{where}: {error}.") from error
    if model_type == "deit" and "embeddings.distillation_token" not in tensors and tensors:
        stated["distillation_token"] = False
    if processor is not None:
        stated |= _pixel_statistics(processor, where)
    return HuggingFaceSettings(
        stated=stated,
        convention=kind.pixels,
        class_names=names,
        preprocessing=_preprocessing(processor, (height, width), where) if processor is not None else None,
    )


def _class_names(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of `id2label` in the order of the outputs; none where they are transformers' own numbers."""
    labels = said.get("id2label")
    if not isinstance(labels, Mapping):
        return ()
    names = tuple(str(labels.get(str(index), labels.get(index, ""))) for index in range(len(labels)))
    return () if all(name in ("", f"LABEL_{index}") for index, name in enumerate(names)) else names


def _sides(value: Any, where: Path) -> tuple[int, int]:
    sides = (value, value) if type(value) is int else tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise CorruptFileError(f"{where}: {value!r} is no size of images or patches; expected one number of px or two.")
    return sides


def _pixel_statistics(processor: Any, where: Path) -> dict[str, Any]:
    """Returns mean and standard deviation of pixels / 255, which transformers applies to pixels * rescale_factor."""
    if not isinstance(processor, Mapping):
        raise CorruptFileError(f"{where.with_name(PREPROCESSOR)}: expected a table of settings.")
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    scale = 255 * factor
    if processor.get("do_normalize", True):
        mean, std = processor.get("image_mean"), processor.get("image_std")
        if mean is None or std is None:
            return {}
    else:
        mean, std = 0.0, 1.0
    scale = 1.0 if math.isclose(scale, 1.0, rel_tol=1e-6) else scale
    values = [tuple(item) if isinstance(item, list | tuple) else (item,) for item in (mean, std)]
    try:
        fractions = [tuple(float(number) / scale for number in numbers) for numbers in values]
    except (TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{where.with_name(PREPROCESSOR)}: image_mean={mean!r} and image_std={std!r} are no numbers."
        ) from error
    return {"pixel_mean": fractions[0], "pixel_std": fractions[1]}


def _preprocessing(processor: Mapping[str, Any], image_size: tuple[int, int], where: Path) -> dict[str, Any]:
    """Returns the arguments of `Preprocessing` that do what transformers' image processor does, at the model's size."""
    interpolation = _INTERPOLATIONS.get(processor.get("resample", 2), "bilinear")
    rule = {"image_size": image_size, "interpolation": interpolation}
    size, crop_size = processor.get("size"), processor.get("crop_size")
    short = size.get("shortest_edge") if isinstance(size, Mapping) else size if "crop_size" in processor else None
    cropped = bool(processor.get("do_center_crop", "crop_size" in processor)) and crop_size is not None
    if not processor.get("do_resize", True):
        return {**rule, "crop_mode": "center"}
    if short is None and isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        edges = (size["height"], size["width"])
        return {**rule, "crop_mode": "squash", "crop": _crop(image_size[0], edges[0]) if cropped else 1.0}
    if short is not None:
        return {**rule, "crop_mode": "center", "crop": _crop(min(image_size), short)}
    return {**rule, "crop_mode": "squash"}


def _crop(side: int, resized: Any) -> float:
    """Returns the fraction of the resized side that is kept, such that `Preprocessing` comes to the same resized side."""
    if type(resized) is not int or resized <= side:
        return 1.0
    crop = side / resized
    return crop if math.floor(side / crop) == resized else math.nextafter(crop, 0)
