"""Reads the JSON files of a KerasHub preset directory as data; no class that they name is imported.

Compared with keras-hub 0.32, `models/vit/vit_backbone.py`, `vit_image_classifier.py` and `layers/preprocessing/image_converter.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, InvalidArgumentError

TASK, CONVERTER = "task.json", "image_converter.json"
_FIELDS = {
    "num_layers": "num_layers", "num_heads": "num_heads", "hidden_dim": "hidden_dim", "mlp_dim": "mlp_dim",
    "layer_norm_epsilon": "norm_epsilon", "use_class_token": "class_token", "use_patch_bias": "patch_bias",
}  # fmt: skip
_INTERPOLATIONS = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest", "lanczos3": "lanczos"}


def keras_hub_settings(config_json: Mapping[str, Any], task: Any, converter: Any, where: Path) -> dict[str, Any]:
    """Returns what KerasHub's files say of a model, as arguments of `Settings`."""
    name = str(config_json.get("class_name"))
    if name != "ViTBackbone":
        raise InvalidArgumentError(f"{where}: of KerasHub's models, only ViTBackbone can be read; this is {name}.")
    values = _read_config(config_json, where)
    try:
        rows, columns, channels = values["image_shape"]
        size = values["patch_size"]
        patch = (size, size) if isinstance(size, int) else tuple(size)
        stated = {ours: values[theirs] for theirs, ours in _FIELDS.items()}
        has_biases = bool(values["use_mha_bias"] and values["use_mlp_bias"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{where}: {error} is missing or illegal in the config of a ViTBackbone.") from error
    if len(set(patch)) != 1 or not has_biases:
        raise InvalidArgumentError(f"{where}: vit_keras builds only square patches, and layers with biases.")
    stated |= {"image_size": (rows, columns), "channels": channels, "patch_size": patch[0]}
    stated |= _read_task(task, bool(stated["class_token"]), where)
    preprocessing = None
    if converter is not None:
        options = _read_config(converter, where.with_name(CONVERTER))
        stated |= _read_pixel_statistics(options, where.with_name(CONVERTER))
        preprocessing = {
            "image_size": (rows, columns),
            "crop_mode": "center" if options.get("crop_to_aspect_ratio", True) else "squash",
            "interpolation": _INTERPOLATIONS.get(str(options.get("interpolation")), "bilinear"),
        }
    return {"stated": stated, "class_names": (), "preprocessing": preprocessing}


def _read_config(described: Any, where: Path) -> Mapping[str, Any]:
    values = described.get("config") if isinstance(described, Mapping) else None
    if not isinstance(values, Mapping):
        raise CorruptFileError(f'{where}: expected a JSON object with a "config".')
    return values


def _read_task(task: Any, has_class_token: bool, where: Path) -> dict[str, Any]:
    fields = {"final_norm": "before", "pooling": "token" if has_class_token else "mean", "pre_logits_dim": None}
    if task is None:
        return fields
    values = _read_config(task, where.with_name(TASK))
    if (values.get("pooling") == "gap") == has_class_token:
        raise InvalidArgumentError(
            f"{where.with_name(TASK)}: pooling={values.get('pooling')!r} with use_class_token={has_class_token}: vit_keras pools the "
            "class token, or the patches alone."
        )
    return {**fields, "pre_logits_dim": values.get("intermediate_dim")}


def _read_pixel_statistics(options: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns mean and std of pixels / 255, for KerasHub's `pixels * scale + offset`."""
    try:
        scales, offsets = (
            tuple(map(float, value if isinstance(value, list) else [default if value is None else value]))
            for value, default in ((options.get("scale"), 1.0), (options.get("offset"), 0.0))
        )
        count = max(len(scales), len(offsets))
        scales, offsets = (each * count if len(each) == 1 else each for each in (scales, offsets))
        std = tuple(1 / (255 * scale) for scale in scales)
        return {
            "pixel_mean": tuple(-offset * each for offset, each in zip(offsets, std, strict=True)),
            "pixel_std": std,
        }
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise CorruptFileError(f"{where}: scale and offset are not numbers ({error}).") from error


def keras_hub_activation(task: Any) -> str | None:
    """Returns the activation of a task's last layer; None for logits."""
    values = task.get("config") if isinstance(task, Mapping) else None
    activation = values.get("activation") if isinstance(values, Mapping) else None
    return activation if isinstance(activation, str) and activation != "linear" else None
