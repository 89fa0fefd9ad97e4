"""Compares a model's layers with those that `vit` builds."""

import math
from collections.abc import Iterator
from typing import Any

import keras

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import AttentionPooling, ConvStem, PackedPatches, ParallelBlock, TransformerBlock
from vit_keras.layers.adapted_block import AdaptedBlock, AdaptedParallelBlock
from vit_keras.models.architecture import BLOCK_FIELDS, ENCODER_FIELDS, HEADS, IMAGES, LayerSpec, layer_specs
from vit_keras.models.graph import PIXELS, REMEDY, Calls, describe, refuse
from vit_keras.models.own_head import read_activation
from vit_keras.packed_sizes import NUM_INDICES

_BLOCKS = (TransformerBlock, ParallelBlock, AdaptedBlock, AdaptedParallelBlock)
_TOLERANCE = 1e-6  # of computed rates


def read_config(model: keras.Model, calls: Calls) -> ViTConfig:
    """Returns the config that the layers of a graph were built from; raises if `vit` did not build them."""
    layers = {name: call.operation for name, call in calls.items()}
    blocks = [layer for layer in layers.values() if isinstance(layer, TransformerBlock)]
    stem = layers.get("patches") or layers.get("conv_stem")
    missing = [name for name in ("normalization", "patch_encoder", "pooling") if name not in layers]
    if not blocks or stem is None or missing:
        reason = f": between its input and output there is no layer {missing[0]!r}. {REMEDY}" if missing else "."
        what = f"The model {model.name!r} was not made by vit_keras.vit, so it has no ViTConfig"
        raise InvalidArgumentError(what + (reason if blocks else "."))
    encoder, pooling, block = layers["patch_encoder"], layers["pooling"], blocks[-1]
    has_map = isinstance(pooling, AttentionPooling)
    try:
        _, height, width, channels = model.inputs[0].shape
        is_packed = isinstance(stem, PackedPatches)
        is_dynamic = not is_packed and bool(stem.as_grid)
        patch_size = math.isqrt(width - NUM_INDICES) if is_packed else stem.patch_size
        of_positions = tuple(side * patch_size for side in encoder.grid_size or ())
        return ViTConfig.from_dict(
            {
                "image_size": of_positions if is_dynamic or is_packed else (height, width),
                "dynamic_image_size": is_dynamic,
                "max_num_patches": height if is_packed else None,
                "patch_size": patch_size,
                "partial_patches": getattr(stem, "partial_patches", "refuse"),
                "num_layers": len(blocks),
                "channels": channels,
                "pixel_mean": tuple(layers["normalization"].mean),
                "pixel_std": tuple(layers["normalization"].std),
                "stem": "conv" if isinstance(stem, ConvStem) else "patch",
                "patch_bias": encoder.use_bias,
                "patch_norm": encoder.patch_norm is not None,
                "distillation_head": not encoder.distillation_token or "distillation_pooling" in layers,
                **{name: getattr(encoder, name) for name in ENCODER_FIELDS},
                "stem_norm": "stem_norm" in layers,
                "parallel_block": block.parallel,
                **_rotary_fields(block.rotary),
                **_relative_position_fields(block.relative_position, layers.get("relative_position")),
                "differential_attention": block.differential_lambda is not None,
                **{name: getattr(block, name) for name in BLOCK_FIELDS},
                "stochastic_depth_rate": block.stochastic_depth_rate,
                "pre_logits_dim": _pre_logits_dim(layers.get("pre_logits")),
                "pooling": "map" if has_map else pooling.pooling,
                "map_includes_prefix": not (has_map and pooling.num_skipped_tokens),
                "num_map_heads": pooling.num_heads if has_map else None,
                "map_mlp_dim": pooling.mlp_dim if has_map else None,
                "final_norm": _final_norm(calls),
            }
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise refuse(model, f"its layers have the names of vit's layers, and are not those ({error})") from error


def _final_norm(calls: Calls) -> str:
    norm = calls.get("final_norm")
    if norm is None:
        return "none"
    return "after" if norm.inputs == ("pooling",) else "before"


def _pre_logits_dim(layer: Any) -> int | None:
    is_dense = isinstance(layer, keras.layers.Dense) and read_activation(layer) == "tanh"
    return int(layer.units) if is_dense else None


def _rotary_fields(rotary: dict[str, Any] | None) -> dict[str, Any]:
    if rotary is None:
        return {}
    fields = {f"rotary_{name}": rotary[name] for name in ("temperature", "order", "reference")}
    return {"rotary_embedding": rotary["kind"], "rotary_offset": rotary.get("offset", 0.0), **fields}


def _relative_position_fields(own: dict[str, Any] | None, shared: Any) -> dict[str, Any]:
    if own is None and shared is None:
        return {}
    kind, dim = (own["kind"], own["hidden_dim"]) if own is not None else (shared.kind, shared.hidden_dim)
    return {"relative_position": kind, "relative_position_dim": dim, "relative_position_shared": own is None}


def match_layers(model: keras.Model, calls: Calls, config: ViTConfig) -> list[LayerSpec]:
    """Returns the layers that `vit` builds from a config and that the graph has, with the head if it is that of `vit`.

    Raises `InvalidArgumentError` if a layer or a connection differs.
    """
    specs = _specs_with_head(calls, config) or layer_specs(config)
    difference = next(_find_differences(calls, specs), None)
    if difference is not None:
        changed_pixels = calls["normalization"].inputs != (IMAGES,)
        raise refuse(model, difference, PIXELS + REMEDY if changed_pixels else REMEDY)
    return specs


def _specs_with_head(calls: Calls, config: ViTConfig) -> list[LayerSpec] | None:
    """Returns the specs with the model's head; None where there is none, or the user's own."""
    head, end = calls.get(HEADS[0]), calls.get("probabilities")
    if head is None or type(head.operation) is not keras.layers.Dense:
        return None
    activation = read_activation(end.operation if end is not None and config.has_two_heads else head.operation)
    specs = layer_specs(
        config,
        num_classes=head.operation.units,
        classifier_activation=None if activation == "linear" else activation,
    )
    is_own = next(_find_differences(calls, [spec for spec in specs if spec.name == HEADS[0]]), None) is not None
    return None if is_own else specs


def _find_differences(calls: Calls, specs: list[LayerSpec]) -> Iterator[str]:
    for spec in specs:
        call = calls.get(spec.name)
        if call is None:
            yield f"it has no layer {spec.name!r}, a {spec.kind.__name__}"
            continue
        wanted_inputs = (*spec.inputs, *spec.keywords.values())
        if call.inputs != wanted_inputs:
            yield f"{spec.name!r} reads {describe(calls, call.inputs)} where vit's reads {describe(calls, wanted_inputs)}"
        if call.keywords.get("training"):
            yield f"{spec.name!r} is called with training=True, which is permanent"
        kind = type(call.operation)
        if kind is not spec.kind and not (spec.kind is TransformerBlock and kind in _BLOCKS):
            yield f"{spec.name!r} is a {kind.__name__} where vit builds a {spec.kind.__name__}"
            continue
        is_keras = kind in (keras.layers.Dense, keras.layers.Activation)
        for name, value in spec.arguments.items():
            if name in ("kernel_initializer", "dtype"):
                continue
            found, wanted = getattr(call.operation, name), value
            if name == "activation" and is_keras:
                found, wanted = read_activation(call.operation), value or "linear"
            if not _are_equal(found, wanted):
                yield f"{spec.name!r} has {name}={found!r} where the other layers need {wanted!r}"
        if kind is keras.layers.Dense and (extra := _find_extra(call.operation)):
            yield f"{spec.name!r} has {extra}"


def _find_extra(layer: keras.layers.Dense) -> str:
    """Returns what a dense layer has that those of `vit` don't have; an empty string for nothing."""
    if not layer.use_bias:
        return "no bias"
    names = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
    return next((f"a {name}" for name in names if getattr(layer, name) is not None), "")


def _are_equal(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        return isinstance(found, list | tuple) and list(found) == list(wanted)
    if isinstance(wanted, float) and isinstance(found, float):
        return abs(found - wanted) <= _TOLERANCE
    return bool(found == wanted)
