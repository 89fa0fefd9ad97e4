"""Finds the presets whose architecture a checkpoint has, by the names and shapes of its tensors or by a config."""

import math
from collections.abc import Mapping
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.presets import list_presets, load_preset
from vit_keras.presets.relatives import SHAPE_FIELDS
from vit_keras.weights.adapt.inferred_sizes import count_blocks
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.layouts import CONV, FLAX_CONV, Shape
from vit_keras.weights.mappings.tables import Table, numbered

_NEAREST = (
    "position_embedding", "image_size", "num_heads", "pooling", "max_num_patches", "norm_epsilon", "activation", "pixel_mean",
    "pixel_std", "channels", "final_norm", "qkv_bias", "patch_bias", "pre_logits_dim", "stem", "rotary_embedding",
    "block_norm",
)  # fmt: skip
"""Fields that order the presets that fit, the most important first."""


def read_fields(table: Table, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Returns the fields of `ViTConfig` that a file's tensors reveal; `layer_scale` is whether there is one.

    Args:
        table: The table of the file's library.
        tensors: The file's tensors by canonical name.
    """
    shapes = _our_shapes(table, tensors)
    first = {name.partition("/")[2]: shape for name, shape in shapes.items() if name.startswith("block_{i}/")}
    contract = first.get("mlp/contract/kernel", (0,))
    found: dict[str, Any] = {
        "num_layers": count_blocks(table, tensors),
        "class_token": "patch_encoder/class_token" in shapes,
        "distillation_token": "patch_encoder/distillation_token" in shapes,
        "num_registers": shapes.get("patch_encoder/registers", (1, 0, 0))[1],
        "layer_scale": bool({"attention_scale/gamma", "scale/gamma"} & first.keys()),
        "qk_norm": "attention/query_norm/gamma" in first,
        "stem_norm": "stem_norm/gamma" in shapes,
        "parallel_block": "norm/gamma" in first,
        "mlp_inner_norm": "mlp/inner_norm/gamma" in first,
        "attention_inner_norm": "attention/inner_norm/gamma" in first,
        **_read_block(shapes, first),
        "position_embedding": "learned" if "patch_encoder/position_embedding" in shapes else "none",
        "patch_bias": "patch_encoder/projection/bias" in shapes,
        "stem": "conv" if "conv_stem/convolution_0/kernel" in shapes else "patch",
    }
    if len(contract) == 2:
        found |= {"mlp_dim": contract[0], "hidden_dim": contract[1]}
        if len(first.get("mlp/expand/kernel", ())) == 2 and not found["parallel_block"]:
            found["gated_mlp"] = first["mlp/expand/kernel"][-1] == 2 * contract[0]
    found |= _read_patches(table, tensors) if found["stem"] == "patch" else {}
    return found | _read_image_size(shapes, found)


def _read_block(shapes: Mapping[str, Shape], first: Mapping[str, Shape]) -> dict[str, Any]:
    own = {name.rpartition("/")[2] for name in first if name.startswith("attention/relative_position/")}
    shared = {name.rpartition("/")[2] for name in shapes if name.startswith("relative_position/")}
    kinds = {"table": "table", "expand_kernel": "mlp"}
    norms = {name for name in first if name.endswith("norm/gamma")}
    return {
        "relative_position": next((kind for name, kind in kinds.items() if name in own | shared), "none"),
        "relative_position_shared": bool(shared),
        "norm": "rms" if norms and not any(name.replace("gamma", "beta") in first for name in norms) else "layer",
        "patch_norm": "patch_encoder/norm/gamma" in shapes,
        "projection_bias": "attention/output/bias" in first,
        "differential_attention": "attention/lambda_query_1" in first,
    }


def find_presets(fields: Mapping[str, Any]) -> list[str]:
    """Returns the names of the presets that weights of a model with these fields fit, the nearest first."""
    found = []
    for name in list_presets():
        config = load_preset(name).config
        differs = any(field in fields and fields[field] != getattr(config, field) for field in SHAPE_FIELDS)
        has_scale = config.layer_scale is not None
        if differs or bool(fields.get("layer_scale", has_scale)) != has_scale:
            continue
        distance = [field in fields and not _is_same(fields[field], getattr(config, field)) for field in _NEAREST]
        found.append((distance, len(load_preset(name).weights) == 0, len(name), name))
    return [name for *_, name in sorted(found)]


def list_changes(config: ViTConfig, preset: str) -> dict[str, Any]:
    """Returns the fields in which a config differs from a preset's."""
    base = load_preset(preset).config.to_dict()
    return {name: value for name, value in config.to_dict().items() if not _is_same(value, base[name])}


def _our_shapes(table: Table, tensors: Mapping[str, TensorInfo]) -> dict[str, Shape]:
    """Returns the shapes in our layout of the weights that a file has, those of the blocks under their pattern."""
    shapes: dict[str, Shape] = {}
    for name, info in tensors.items():
        for row, block in table.find_rows(name):
            for way in row.ways:
                if name not in (numbered(each, block, digits=table.digits) for each in way.names):
                    continue
                axis = way.stacked
                ours = way.layout.our_shape(info.shape if axis is None else info.shape[:axis] + info.shape[axis + 1 :])
                if not ours:
                    continue
                for target in row.targets:
                    shapes.setdefault(target, (*ours[:-1], ours[-1] * len(way.names)))
    return shapes


def _read_patches(table: Table, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    for way in table.ways_to("patch_encoder/projection/kernel"):
        info = tensors.get(way.names[0])
        if info is not None and way.layout.rank not in (None, len(info.shape)):
            continue
        if info is not None and len(info.shape) == 4 and way.layout in (CONV, FLAX_CONV):
            is_torch = way.layout == CONV
            return {"patch_size": info.shape[2 if is_torch else 0], "channels": info.shape[1 if is_torch else 2]}
        if info is not None and len(info.shape) == 2:  # ours: (side * side * channels, width)
            width = info.shape[0 if way.layout.order is None else way.layout.order[0]]
            for channels in (3, 1, 4):
                side = math.isqrt(width // channels)
                if side * side * channels == width:
                    return {"patch_size": side, "channels": channels}
    return {}


def _read_image_size(shapes: Mapping[str, Shape], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the size of square images, px, from the number of positions or offsets; empty where that is not clear."""
    offsets = next((shape[0] for name, shape in shapes.items() if name.endswith("relative_position/table")), 0)
    between_patches = max(offsets - 3 * fields["class_token"], 0)  # (2 * side - 1)**2
    side = round(between_patches**0.5)
    if side % 2 and side * side == between_patches and "patch_size" in fields:
        return {"image_size": ((side + 1) // 2 * fields["patch_size"],) * 2}
    positions = shapes.get("patch_encoder/position_embedding")
    if positions is None or len(positions) != 3 or "patch_size" not in fields:
        return {}
    on_prefix = fields["class_token"] + fields["distillation_token"]
    for count in (positions[1] - on_prefix, positions[1], positions[1] - on_prefix - fields["num_registers"]):
        side = round(max(count, 0) ** 0.5)
        if side > 0 and side * side == count:
            return {"image_size": (side * fields["patch_size"],) * 2}
    return {}


def _is_same(one: Any, other: Any) -> bool:
    first, second = (tuple(value) if isinstance(value, list | tuple) else value for value in (one, other))
    if isinstance(first, tuple) and isinstance(second, tuple) and 1 in (len(first), len(second)):
        return len({*first, *second}) == 1
    return bool(first == second)
