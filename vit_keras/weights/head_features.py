"""Which features the head in a file was trained on. A head is loaded only onto the same."""

import re
from collections.abc import Mapping
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.options import HeadChange
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.tables import Table

HEAD_FIELDS = ("pooling", "map_includes_prefix", "final_norm", "pre_logits_dim", "distillation_head")
"""Fields of `ViTConfig` that decide what a head sees."""


def head_features(table: Table, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Returns the fields of `ViTConfig` that a file's tensors give away of the features its head sees; the others stay open.

    Args:
        table: The file's.
        tensors: Its tensors, by the table's names.

    Example:
        >>> from vit_keras.weights.mappings.timm import TIMM
        >>> head_features(TIMM, {"cls_token": TensorInfo((1, 1, 8), "float32"), "fc_norm.weight": TensorInfo((8,), "float32")})
        {'pooling': 'mean', 'final_norm': 'after'}
    """
    shapes = {
        target: tensors[name].shape for name in tensors for row, _ in table.find_rows(name) for target in row.targets
    }
    found: dict[str, Any] = {}
    if "pooling/probe" in shapes:
        found["pooling"] = "map"
    elif "patch_encoder/class_token" not in shapes:
        found["pooling"] = "mean"
    if "pre_logits/bias" in shapes:
        found["pre_logits_dim"] = shapes["pre_logits/bias"][-1]
    if {"patch_encoder/distillation_token", "head/kernel"} <= shapes.keys():
        found["distillation_head"] = "head_distillation/kernel" in shapes
    for pattern, fields in table.head_features:
        if any(re.fullmatch(pattern, name) for name in tensors):
            found |= fields
    if found.get("pooling") == "token" and "patch_encoder/class_token" not in shapes:
        found["pooling"] = "mean"
    return found


def differing_features(found: Mapping[str, Any], config: ViTConfig) -> dict[str, Any]:
    """Returns those of a file's features that a model has otherwise.

    Args:
        found: What `head_features` says, or a config's fields.
        config: The model's.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> differing_features({"pooling": "mean", "final_norm": "before"}, config)
        {'pooling': 'mean'}
    """
    differing = {name: found[name] for name in HEAD_FIELDS if name in found and found[name] != getattr(config, name)}
    if config.pooling == "token" and "pooling" not in differing:
        differing.pop("final_norm", None)  # one token is normalized alike before it is picked and after
    if not config.distillation_token:
        differing.pop("distillation_head", None)
    return differing


def head_change(num_classes: int | None, found: Mapping[str, Any], config: ViTConfig) -> HeadChange:
    """Returns what becomes of a file's head: loaded, where no number of classes is asked for; else taken if it fits.

    Args:
        num_classes: Classes that were asked for; None for as many as the file has.
        found: What `head_features` says of the file, or its config's fields.
        config: The model's.
    """
    if num_classes is None:
        return "load"
    return "new" if differing_features(found, config) else "fit"
