"""Writes a model's LoRA matrices and other trained weights as an adapter of PEFT."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.adapted_block import ADAPTER_WEIGHTS, SCALINGS, AdaptedBlock
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.runtime.files import atomic_directory, write_text
from vit_keras.training.transfer.lora_layers import list_other_trained, own_weights, to_array
from vit_keras.validation import list_words
from vit_keras.weights import write_tensors
from vit_keras.weights.lora.adapter_config import ADAPTER_CONFIG
from vit_keras.weights.lora.adapter_file import ADAPTER_MODEL
from vit_keras.weights.lora.module_names import exists_in_memory, name_in_memory
from vit_keras.weights.lora.places import Place, find_places
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.mappings.libraries.timm import timm_table
from vit_keras.weights.mappings.tables import Row, Table, Way, never
from vit_keras.weights.writers.huggingface_config import huggingface_model
from vit_keras.weights.writers.timm_config import timm_config

PEFT_TARGETS = ("huggingface", "huggingface_4", "timm")
_PREFIX = "base_model.model."
_IN_A_MODULE = ("weight", "bias", "lambda1", "gamma")  # last words of tensors that are all that their module has
_SHOWN = 5


@dataclass(frozen=True)
class _Library:
    table: Table
    name_in_memory: Callable[[str], str]
    choose: Callable[[Row], Iterable[Way]]
    auto_mapping: Mapping[str, str] | None  # the class that PEFT's `AutoPeftModel` builds


@dataclass(frozen=True)
class _Pair:
    down: Array  # (inputs, rank)
    up: Array  # (rank, outputs)
    alpha: float
    scaling: str
    start: int  # first of the module's outputs that it is added to


@dataclass
class _Written:
    tensors: dict[str, Array] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)  # by module
    alphas: dict[str, float] = field(default_factory=dict)
    scalings: dict[str, str] = field(default_factory=dict)  # by module
    whole_modules: set[str] = field(default_factory=set)
    bias: str = "none"


def write_peft(model: keras.Model, path: Path, *, to: str, base_model: str | None) -> None:
    """Writes the directory, which must not exist; see `save_lora`."""
    parts = read_model(model)
    if parts.own_head:
        names = [layer.name for layer in parts.own_head]
        raise InvalidArgumentError(
            f"The model has layers of your own, {list_words(names)}, which PEFT can't hold: write a file of vit_keras, with to='vit_keras'."
        )
    library = _find_library(parts, to)
    shapes = {
        name: tuple(weight.shape) for name, weight in parts.weights().items() if weight.name not in ADAPTER_WEIGHTS
    }
    places = find_places(library.table, shapes, num_layers=parts.config.num_layers, choose=library.choose)
    written = _Written()
    for name, pairs in _collect_pairs(parts, places).items():
        module = library.name_in_memory(name).removesuffix(".weight")
        _write_pair(written, module, pairs, max(place.theirs.stop for place in places if place.name == name))
    _write_other(written, model, parts, places, library)
    described = _describe(written, base_model, library.auto_mapping)
    with atomic_directory(path) as unfinished:
        write_tensors(written.tensors, unfinished / ADAPTER_MODEL, metadata={"format": "pt"})
        write_text(unfinished / ADAPTER_CONFIG, json.dumps(described, indent=2) + "\n")


def _find_library(parts: ModelParts, to: str) -> _Library:
    config = parts.config
    if to == "timm":
        timm_config(config, parts.num_classes)  # refuses what timm does not have
        return _Library(timm_table(config), str, lambda row: [way for way in row.ways if way.when(config)][:1], None)
    version = 4 if to == "huggingface_4" else 5
    theirs = huggingface_model(config, [str(index) for index in range(parts.num_classes or 0)])

    def choose(row: Row) -> Iterable[Way]:
        # A way that is never written to files can be that in memory.
        ways = [way for way in row.ways_for(config) if way.when(config) or way.when is never]
        return [way for way in ways if all(exists_in_memory(name, version=version) for name in way.names)][:1]

    kind = theirs.config["model_type"].removesuffix("_vision_model")
    mapping = {
        "base_model_class": theirs.config["architectures"][0],
        "parent_library": f"transformers.models.{kind}.modeling_{kind}",
    }
    return _Library(theirs.table, lambda name: name_in_memory(theirs, name, version=version), choose, mapping)


def _collect_pairs(parts: ModelParts, places: Iterable[Place]) -> dict[str, list[_Pair]]:
    """Returns the matrices that each of the library's tensors gets."""
    by_weight: dict[str, list[Place]] = {}
    for place in places:
        by_weight.setdefault(place.weight, []).append(place)
    found: dict[str, list[_Pair]] = {}
    for block in parts.blocks:
        for adapter in block.adapted if isinstance(block, AdaptedBlock) else ():
            down, up, own = to_array(adapter.adapter_down), to_array(adapter.adapter_up), adapter.columns
            for place in by_weight[adapter.kernel.path]:
                low, high = max(place.ours.start, own.start), min(place.ours.stop, own.stop)
                if low < high:
                    start = place.theirs.start + low - place.ours.start
                    columns = up[:, low - own.start : high - own.start]
                    pair = _Pair(down, columns, adapter.alpha, adapter.scaling, start)
                    found.setdefault(place.name, []).append(pair)
    return found


def _write_pair(written: _Written, module: str, pairs: list[_Pair], outputs: int) -> None:
    first = pairs[0]
    down, up, alpha, scaling = first.down, first.up, first.alpha, first.scaling
    if len(pairs) > 1 or up.shape[1] < outputs:
        # One product for several: the matrices side by side, each adding to its own outputs.
        down = np.concatenate([pair.down for pair in pairs], axis=1)
        up, row = np.zeros((down.shape[1], outputs), "float32"), 0
        for pair in pairs:
            rank, width = pair.up.shape
            up[row : row + rank, pair.start : pair.start + width] = pair.alpha / SCALINGS[pair.scaling](rank) * pair.up
            row += rank
        alpha, scaling = down.shape[1], "rank"  # a scale of 1
    written.tensors[f"{_PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(down.T)
    written.tensors[f"{_PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(up.T)
    written.ranks[module], written.alphas[module] = down.shape[1], alpha
    written.scalings[module] = scaling


def _write_other(
    written: _Written, model: keras.Model, parts: ModelParts, places: Iterable[Place], library: _Library
) -> None:
    """Adds the head, and the weights that train besides, as biases or whole modules."""
    weights = parts.weights()
    trained = set(list_other_trained(model))
    names = {library.name_in_memory(place.name): place for place in places if place.weight in trained}
    lost = trained - {place.weight for place in names.values()}
    lost |= {
        place.weight for name, place in names.items() if name.endswith(".weight") and _module(name) in written.ranks
    }
    single = [name for name in names if not name.endswith(tuple(f".{word}" for word in _IN_A_MODULE))]
    if lost or single:
        raise InvalidArgumentError(
            f"PEFT can't hold all weights that train: {list_words(sorted(lost) + sorted(names[name].weight for name in single))} are neither biases nor "
            "modules of their own without LoRA. Write the whole model: merge_lora, then weights.write."
        )
    own = own_weights(model)
    heads = {place.weight for place in places if place.weight in own}
    absent = [
        name
        for name in own
        if name not in heads and own[name].name not in ADAPTER_WEIGHTS and to_array(own[name]).any()
    ]
    if absent:
        raise InvalidArgumentError(
            f"{library.table.title} has no {', '.join(absent)}; it can be written only if it is zero."
        )
    changed = {_module(name) for name in names if not name.endswith(".bias")}
    biases = {
        name: place.weight for name, place in names.items() if name.endswith(".bias") and _module(name) not in changed
    }
    # Queries, keys and values share a bias; that of keys changes no output, so that PEFT's is that of the adapted ones.
    of_adapted = {weight for name, weight in biases.items() if _module(name) in written.ranks}
    if biases:
        written.bias = "lora_only" if of_adapted == set(biases.values()) else "all"
    for place in places:
        name = library.name_in_memory(place.name)
        module = _module(name)
        is_bias = name.endswith(".bias") and (
            written.bias == "all" or (written.bias == "lora_only" and module in written.ranks)
        )
        if place.weight in heads or module in changed:
            written.whole_modules.add(module)
        elif not is_bias:
            continue
        inside = f"{module}.base_layer.{name.rpartition('.')[2]}" if module in written.ranks else name
        _fill(written.tensors, _PREFIX + inside, place, to_array(weights[place.weight]), places, parts.config)


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _fill(
    tensors: dict[str, Array], name: str, place: Place, weight: Array, places: Iterable[Place], config: ViTConfig
) -> None:
    """Adds a tensor that is some columns of a weight."""
    part = weight[..., place.ours]
    width = max(each.theirs.stop for each in places if each.name == place.name)
    if part.shape[-1] < width:
        raise InvalidArgumentError(f"{place.name} holds several weights of the model, of which {place.weight} is one.")
    tensors[name] = np.ascontiguousarray(place.layout.to_theirs(part, config))


def _describe(written: _Written, base_model: str | None, auto_mapping: Mapping[str, str] | None) -> dict[str, Any]:
    """Returns adapter_config.json: the most frequent rank and alpha, and patterns for modules that differ."""
    is_stabilized = set(written.scalings.values()) == {"sqrt_rank"}
    alphas = dict(written.alphas)
    for module, number in written.ranks.items():
        if not is_stabilized and written.scalings[module] == "sqrt_rank":
            alphas[module] *= math.sqrt(number)
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (written.ranks, alphas))
    return {
        "peft_type": "LORA",
        "auto_mapping": None if auto_mapping is None else dict(auto_mapping),
        "base_model_name_or_path": base_model,
        "task_type": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {module: value for module, value in written.ranks.items() if value != rank},
        "alpha_pattern": {module: value for module, value in alphas.items() if value != alpha},
        "use_rslora": is_stabilized,
        "lora_dropout": 0.0,
        "target_modules": sorted(written.ranks),
        "modules_to_save": sorted(written.whole_modules) or None,
        "bias": written.bias,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
