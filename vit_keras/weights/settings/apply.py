"""Applies what is known of a checkpoint's model to a preset's config, and reports contradictions."""

import logging
from collections.abc import Mapping
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import WeightMismatchError
from vit_keras.weights.formats.tensor_file import prefix_errors
from vit_keras.weights.head import HEAD_FIELDS
from vit_keras.weights.mappings.libraries.timm import is_eva
from vit_keras.weights.mappings.tables import Table
from vit_keras.weights.settings.read import Settings

_log = logging.getLogger(__name__)

_ROTARY_FIELDS = ("rotary_embedding", "rotary_temperature", "rotary_order", "rotary_reference", "rotary_offset")
_REFUSED_FIELDS = ("num_heads", "num_map_heads", "block_norm", *_ROTARY_FIELDS)
# Those that change what the same weights compute, and that no tensor's shape reveals, except those about the head.
_FORWARD_FIELDS = ("activation", "norm_epsilon", "pixel_mean", "pixel_std", *_REFUSED_FIELDS)
_MAP_FIELDS = ("map_includes_prefix", "num_map_heads", "map_mlp_dim")
_SIZE_FIELDS = ("hidden_dim", "num_layers", "mlp_dim")
UNSTATED = ("num_heads", "activation", "norm_epsilon", "pixel_mean", "pixel_std", "pooling")
"""Fields of every model that no shape reveals."""


def apply_settings(config: ViTConfig, settings: Settings, *, changes: Mapping[str, Any] = {}) -> ViTConfig:
    """Returns a preset's config with the checkpoint's values of what its shapes do not reveal; logs what differs."""
    other = [
        name
        for name in _SIZE_FIELDS
        if name not in changes and settings.stated.get(name, getattr(config, name)) != getattr(config, name)
    ]
    if other:
        theirs = _list_values(settings.stated, other)
        raise WeightMismatchError(
            f"{settings.origin} says {theirs}, and the preset has {', '.join(repr(getattr(config, name)) for name in other)}: the "
            f"weights do not fit the model. Give {theirs}, or the directory in place of the preset's name."
        )
    names = {"image_size", "partial_patches", "position_resize", *_FORWARD_FIELDS, *HEAD_FIELDS, *_MAP_FIELDS}
    names -= changes.keys()
    if not config.distillation_token:
        names.discard("distillation_head")
    if changes.get("pooling", settings.fields.get("pooling", config.pooling)) != "map":
        names.difference_update(_MAP_FIELDS)
    taken = {name: value for name, value in settings.fields.items() if name in names}
    with prefix_errors(settings.origin):
        changed = config.replace(**{**taken, **changes})
    if "map_includes_prefix" in names - taken.keys() and _skips_prefix(settings, config, changed):
        taken["map_includes_prefix"] = False
        changed = changed.replace(map_includes_prefix=False)
    differing = {name: value for name in taken if not _is_same(value := getattr(changed, name), getattr(config, name))}
    differing.pop("position_resize", None)  # reported where positions are resized
    if differing:
        before = ", ".join(repr(getattr(config, name)) for name in differing)
        _log.warning("%s: %s, in place of the preset's %s", settings.origin, _list_values(differing, differing), before)
    return changed


def _skips_prefix(settings: Settings, config: ViTConfig, changed: ViTConfig) -> bool:
    """Whether a file without a config.json has attention pooling by timm's default, which leaves out prefix tokens.

    A preset with attention pooling knows better, and timm's `Eva` always includes them.
    """
    is_known = config.pooling == "map" or is_eva(config)
    return settings.source == "timm" and bool(changed.num_prefix_tokens) and not is_known


def list_assumptions(settings: Settings, config: ViTConfig, table: Table) -> tuple[str, ...]:
    """Returns what changes a checkpoint's outputs and is revealed by neither its tensors nor a config.json, as a model has it."""
    names = [*UNSTATED, *table.untold]
    if config.pooling == "map":
        names += [*(["map_includes_prefix"] if config.num_prefix_tokens else []), "num_map_heads"]
    if config.rotary_embedding != "none":
        names += _ROTARY_FIELDS
    known = {*settings.stated, *settings.inferred}
    found = [_describe(name, settings, config) for name in names if name not in known]
    return (*found, *([f"label_set={settings.label_set!r}"] if settings.label_set is not None else []))


def _describe(name: str, settings: Settings, config: ViTConfig) -> str:
    value = getattr(config, name)
    usual = settings.convention.get(name, value)
    return f"{name}={value!r}" + ("" if _is_same(usual, value) else f" (published ones have {usual!r})")


def find_contradictions(settings: Settings, config: ViTConfig) -> list[str]:
    """Returns a line for each field of a model that contradicts the checkpoint's config.json and changes the outputs."""
    differing = {
        name: settings.stated[name]
        for name in _FORWARD_FIELDS
        if name in settings.stated and not _is_same(settings.stated[name], getattr(config, name))
    }
    if not settings.stated.get("pooling") == config.pooling == "map":
        differing.pop("num_map_heads", None)
    refused = [name for name in _REFUSED_FIELDS if name in differing]
    if refused:
        theirs = _list_values(differing, refused)
        mine = ", ".join(f"{name}={getattr(config, name)!r}" for name in refused)
        raise WeightMismatchError(
            f"{settings.origin} says {theirs}, and the model has {mine}: the weights fit by their shapes but would compute "
            f"something else. Build the model with {theirs}."
        )
    return [
        f"the model has {name}={getattr(config, name)!r}, and {settings.origin} says {value!r}: the outputs differ"
        for name, value in differing.items()
    ]


def _list_values(values: Mapping[str, Any], names: Any) -> str:
    return ", ".join(f"{name}={values[name]!r}" for name in names)


def _is_same(stated: Any, mine: Any) -> bool:
    # One mean for all channels equals the same mean for each.
    if isinstance(stated, tuple) and isinstance(mine, tuple) and 1 in (len(stated), len(mine)):
        return len({*stated, *mine}) == 1
    return bool(stated == mine)
