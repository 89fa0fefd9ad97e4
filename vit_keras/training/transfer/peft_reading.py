"""Puts an adapter of PEFT on a model."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.errors import WeightMismatchError
from vit_keras.layers.adapted_block import ALL_TARGETS, SCALINGS, AdaptedBlock
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.training.transfer.freezing import train_only
from vit_keras.training.transfer.lora_layers import copy_with_lora, own_weights, replace_blocks, to_array
from vit_keras.weights.adapt.options import AdaptOptions
from vit_keras.weights.formats.tensor_file import TensorFile
from vit_keras.weights.loading import read_weights
from vit_keras.weights.lora.adapter_config import AdapterConfig
from vit_keras.weights.lora.adapter_file import (
    AdapterNames,
    BaseModelFile,
    open_adapter,
    read_finite,
    read_pair,
    sort_names,
)
from vit_keras.weights.lora.places import Place, locate
from vit_keras.weights.mappings.layouts import Array, Shape
from vit_keras.weights.planning import plan
from vit_keras.weights.store import count_each
from vit_keras.zoo.rebuild import rebuild

_log = logging.getLogger(__name__)
_HEAD = ("head/kernel", "head/bias")


@dataclass
class _Adapter:
    """An adapter in terms of a model."""

    pairs: dict[str, dict[str, "_Pair"]] = field(default_factory=dict)  # by block, then target of `AdaptedBlock`
    merged: list[tuple[Place, Array]] = field(default_factory=list)  # products of matrices for other weights
    values: list[tuple[Place, Array]] = field(default_factory=list)  # new values of weights
    left_out: list[str] = field(default_factory=list)  # tensors of another part than the images' tower
    misfits: list[str] = field(default_factory=list)

    @property
    def changed(self) -> set[str]:
        """The weights that the adapter changes in place."""
        return {place.weight for place, _ in (*self.merged, *self.values)}


@dataclass(frozen=True)
class _Pair:
    down: Array  # (inputs, rank)
    up: Array  # (rank, outputs)
    alpha: float


def read_peft(
    model: keras.Model, path: Path, *, alpha: float | None, scaling: str | None, adapter: str | None
) -> keras.Model:
    """Returns a copy of a model with an adapter of PEFT; see `load_lora`."""
    file, config = open_adapter(path, alpha=alpha, scaling=scaling)
    with file:
        names = sort_names(file, adapter=adapter)
        model = replace_blocks(model, {})
        if names.base:
            model = _load_base(model, file, names)
        model = _match_head(model, file, names)
        parts = read_model(model)
        found = _translate(file, names, config, parts)
    if found.misfits:
        reasons = "; ".join(count_each({"tensors of another shape": found.misfits}))
        raise WeightMismatchError(f"{path} does not fit the model: {reasons}.")
    if config.base_model is not None:
        _log.info("%s: the adapter was trained on %s", path, config.base_model)
    if found.left_out:
        _log.warning("%s: left out, because the model has no such part: %s", path, found.left_out[0].split(".layer")[0])
    return _apply(model, found, config.scaling)


def _match_head(model: keras.Model, file: TensorFile, names: AdapterNames) -> keras.Model:
    """Returns the model with a head for the adapter's classes, where the adapter has a whole head."""
    parts = read_model(model)
    if parts.own_head:
        return model
    shapes = _shapes(parts)
    shapes |= {name: shapes.get(name, (*([parts.config.feature_dim] * (name == _HEAD[0])), 1)) for name in _HEAD}
    places = locate(_tensors(names), shapes, parts.config, path=file.path)
    for name, full in names.replaced.items():
        if any(place.weight == _HEAD[0] for place in places[name]):
            layout, shape = places[name][0].layout, file.tensors[full].shape
            classes = (layout.our_shape(shape) or (0,))[-1]
            if classes not in (0, parts.num_classes):
                _log.warning("%s: the model has a new head, for the adapter's %s classes", file.path, classes)
                return rebuild(model, num_classes=classes)
    return model


def _load_base(model: keras.Model, file: TensorFile, names: AdapterNames) -> keras.Model:
    """Returns the model with the base model's weights of a whole state dict."""
    base = BaseModelFile(file, {**names.base, **names.replaced})
    parts = read_model(model)
    steps = plan(_shapes(parts), parts.config, base, adapt=AdaptOptions(head="fit"))
    variables = parts.weights()
    for name, array in read_weights(steps, base, variables, False):
        variables[name].assign(array)
    return model


def _tensors(names: AdapterNames) -> list[str]:
    return [*(f"{module}.weight" for module in names.pairs), *names.replaced]


def _shapes(parts: ModelParts) -> dict[str, Shape]:
    return {name: tuple(weight.shape) for name, weight in parts.weights().items()}


def _translate(file: TensorFile, names: AdapterNames, config: AdapterConfig, parts: ModelParts) -> _Adapter:
    shapes, found = _shapes(parts), _Adapter()
    places = locate(_tensors(names), shapes, parts.config, path=file.path)
    for module, both in names.pairs.items():
        here = places[f"{module}.weight"]
        down, up = read_pair(file, both, module, config)
        ours = here[0].layout.to_ours(down) if here and here[0].layout.our_shape(down.shape) is not None else down.T
        if not here:
            found.left_out.append(module)
        elif ours.shape[0] != shapes[here[0].weight][0] or len(up) != max(place.theirs.stop for place in here):
            expected = f"{shapes[here[0].weight][0]} inputs and {max(place.theirs.stop for place in here)} outputs"
            found.misfits.append(f"{module} has {ours.shape[0]} inputs and {len(up)} outputs, and the model {expected}")
        else:
            for place in here:
                _add_pair(
                    found, place, shapes, _Pair(ours, up.T[:, place.theirs], config.alpha_of(module)), config.scaling
                )
    for name, full in names.replaced.items():
        value = read_finite(file, full) if places[name] else np.zeros(0, "float32")
        for place in places[name]:
            if place.layout.our_shape(value.shape) != _their_shape(place, places[name], shapes):
                found.misfits.append(f"{full} is {value.shape}, and {place.weight} of the model {shapes[place.weight]}")
            else:
                found.values.append((place, place.layout.to_ours(value)[..., place.theirs]))
        if not places[name]:
            found.left_out.append(name)
    return found


def _their_shape(place: Place, places: list[Place], shapes: Mapping[str, Shape]) -> Shape:
    """Returns the shape, in our layout, that a tensor with these places must have."""
    return (*shapes[place.weight][:-1], max(each.theirs.stop for each in places))


def _add_pair(found: _Adapter, place: Place, shapes: Mapping[str, Shape], pair: _Pair, scaling: str) -> None:
    target = place.target(shapes[place.weight])
    if target is not None:
        block, name = target
        found.pairs.setdefault(block, {})[name] = pair
    else:
        scale = pair.alpha / SCALINGS[scaling](pair.down.shape[1])
        found.merged.append((place, scale * np.matmul(pair.down, pair.up)))


def _apply(model: keras.Model, found: _Adapter, scaling: str) -> keras.Model:
    blocks = {name: _describe(pairs, scaling) for name, pairs in sorted(found.pairs.items())}
    adapted = copy_with_lora(model, blocks) if blocks else model
    weights = read_model(adapted).weights()
    for layer in adapted.layers:
        for each in layer.adapted if isinstance(layer, AdaptedBlock) else ():
            pair = found.pairs[layer.name][each.name]
            each.adapter_down.assign(pair.down)
            each.adapter_up.assign(pair.up)
    for changes, is_new in ((found.values, True), (found.merged, False)):
        for place, array in changes:
            whole = to_array(weights[place.weight])
            whole[..., place.ours] = array if is_new else whole[..., place.ours] + array
            weights[place.weight].assign(whole)
    own = own_weights(adapted).keys() | found.changed
    train_only(adapted, [weight for name, weight in weights.items() if name in own])
    return adapted


def _describe(pairs: Mapping[str, _Pair], scaling: str) -> dict[str, Any]:
    """Returns the `adapters` of an `AdaptedBlock`."""
    targets = [name for name in ALL_TARGETS if name in pairs]
    described: dict[str, Any] = {"targets": targets}
    for name, values in (
        ("rank", {target: int(pairs[target].down.shape[1]) for target in targets}),
        ("alpha", {target: pairs[target].alpha for target in targets}),
    ):
        described[name] = next(iter(values.values())) if len(set(values.values())) == 1 else values
    return described | ({"scaling": scaling} if scaling != "rank" else {})
