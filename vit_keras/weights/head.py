"""What a checkpoint's head is: its number of classes, and the features that it was trained on."""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from vit_keras.config import ViTConfig
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.tables import Table

HeadChange: TypeAlias = Literal["fit", "load", "new"]
# Fields of `ViTConfig` that determine the head's input.
HEAD_FIELDS = ("pooling", "map_includes_prefix", "final_norm", "pre_logits_dim", "distillation_head")


def count_classes(table: Table, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Returns the number of classes of a file's head; None without a head."""
    for way in table.ways_to("head/kernel"):
        if len(way.names) == 1 and way.names[0] in tensors:
            shape = way.layout.our_shape(tensors[way.names[0]].shape)
            return shape[-1] if shape else None
    return None


def head_features(table: Table, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Returns the fields of `ViTConfig` about the head's input that a file's tensors reveal; the others are left out."""
    shapes = {
        target: tensors[name].shape for name in tensors for row, _ in table.find_rows(name) for target in row.targets
    }
    found: dict[str, Any] = {}
    if "pooling/probe" in shapes:
        found["pooling"] = "map"
    elif "patch_encoder/class_token" not in shapes:
        found["pooling"] = "mean"
    if "final_norm/gamma" not in shapes:
        found["final_norm"] = "none"
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
    """Returns the fields about the head's input that differ between a file and a model, with the file's values."""
    differing = {name: found[name] for name in HEAD_FIELDS if name in found and found[name] != getattr(config, name)}
    norms = {found.get("final_norm"), config.final_norm}
    if config.pooling == "token" and "pooling" not in differing and "none" not in norms:
        differing.pop("final_norm", None)  # normalizing one token gives the same before and after it is picked
    if not config.distillation_token:
        differing.pop("distillation_head", None)
    return differing


def head_change(num_classes: int | None, found: Mapping[str, Any], config: ViTConfig) -> HeadChange:
    """Returns `AdaptOptions.head` for the number of classes that the caller asked for."""
    if num_classes is None:
        return "load"
    return "new" if differing_features(found, config) else "fit"
