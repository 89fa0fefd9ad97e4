"""The LoRA files of vit_keras: the matrices and the head, for one model with exactly these other weights."""

import json
from pathlib import Path
from typing import Any

import keras
from safetensors import safe_open

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, InvalidArgumentError, WeightMismatchError
from vit_keras.layers.adapted_block import check_adapters
from vit_keras.models.wiring import read_model
from vit_keras.runtime.strict_json import parse_json
from vit_keras.training.transfer.lora_layers import (
    copy_with_lora,
    list_other_trained,
    own_weights,
    read_adapters,
    to_array,
)
from vit_keras.validation import list_words
from vit_keras.weights import read_tensors, write_tensors
from vit_keras.weights.digest import digest_weights

KEY = "vit_keras_adapters"  # in the header of the file
_SAME, _BY_BLOCK = 1, 2  # formats: one description for all blocks, or one for each block that has matrices
_DESCRIPTION = ("rank", "alpha", "targets")
_NOT_OF_THE_WEIGHTS = (
    "dropout_rate", "attention_dropout_rate", "stochastic_depth_rate", "remat", "position_resize", "patch_resize",
)  # fmt: skip
"""Fields of a config that do not change the meaning of a weight."""


def write_lora_file(model: keras.Model, path: Path) -> None:
    """Writes LoRA matrices and head; an existing file is replaced."""
    more = list_other_trained(model)
    if more:
        raise InvalidArgumentError(
            f"{len(more)} trainable weights belong neither to LoRA nor to the head, the first {more[:3]}, so the file would not hold "
            "them. Save the whole model, write an adapter for PEFT with to=, or freeze them with set_trainable(model, 'lora')."
        )
    adapters = read_adapters(model)
    first = next(iter(adapters.values()))
    is_same = len(adapters) == len(read_model(model).blocks) and all(each == first for each in adapters.values())
    blocks = {**first} if is_same and first.keys() == set(_DESCRIPTION) else {"blocks": adapters}
    described = {
        "format": _BY_BLOCK if "blocks" in blocks else _SAME,
        **blocks,
        "base": _digest(model),
        "config": _compatible_fields(read_model(model).config),
    }
    tensors = {name: to_array(weight) for name, weight in own_weights(model).items()}
    write_tensors(tensors, path, metadata={KEY: json.dumps(described)})


def read_lora_file(model: keras.Model, path: Path) -> keras.Model:
    """Returns a copy of a model with the LoRA matrices and the head of a file."""
    described = _read_header(path)
    parts = read_model(model)
    here, there = _compatible_fields(parts.config), described["config"]
    reasons = [
        f"{name} is {there.get(name, 'unknown')!r} in the file and {here.get(name, 'unknown')!r} here"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    if not reasons and described["base"] != _digest(model):
        reasons = ["the config is the same, but the other weights differ; load the weights it was trained from"]
    if reasons:
        raise WeightMismatchError(f"{path} holds LoRA matrices for another model: {'; '.join(reasons)}.")
    blocks = described["blocks"] or {block.name: described["adapters"] for block in parts.blocks}
    adapted = copy_with_lora(model, blocks)
    own = own_weights(adapted)
    tensors = read_tensors(path, {name: tuple(weight.shape) for name, weight in own.items()})
    for name, weight in own.items():
        weight.assign(tensors[name])
    return adapted


def has_lora_header(path: Path) -> bool:
    """Whether a safetensors file is one of `write_lora_file`; its bytes must have been checked."""
    with safe_open(path, framework="numpy") as file:
        return KEY in (file.metadata() or {})


def _compatible_fields(config: ViTConfig) -> dict[str, Any]:
    fields = {name: value for name, value in config.to_dict().items() if name not in _NOT_OF_THE_WEIGHTS}
    compatible: dict[str, Any] = json.loads(json.dumps(fields))
    return compatible


def _digest(model: keras.Model) -> str:
    """Returns the SHA-256 of the frozen weights, rounded to bfloat16: the same whether the model is in float32 or bfloat16."""
    own = own_weights(model)
    return digest_weights(
        (f"{name} {tuple(weight.shape)}", to_array(keras.ops.cast(weight, "bfloat16")))
        for name, weight in sorted(read_model(model).weights().items())
        if name not in own
    )


def _read_header(path: Path) -> dict[str, Any]:
    """Returns `base`, `config`, and either `adapters` of all blocks or `blocks`."""
    with safe_open(path, framework="numpy") as file:
        described = parse_json((file.metadata() or {})[KEY].encode(), f"{path}, {KEY}")
    if not isinstance(described, dict):
        raise CorruptFileError(f"{path}: its header does not describe LoRA matrices; expected a JSON object.")
    if described.get("format") not in (_SAME, _BY_BLOCK):
        raise WeightMismatchError(
            f"{path} has format {described.get('format')!r}; this version of vit_keras reads {_SAME} and {_BY_BLOCK}."
        )
    own = {"blocks"} if described["format"] == _BY_BLOCK else {*_DESCRIPTION}
    wanted = {"format", "base", "config", *own}
    if described.keys() != wanted or not isinstance(described["config"], dict):
        raise CorruptFileError(
            f"{path}: its header does not describe LoRA matrices; expected exactly {list_words(sorted(wanted))}."
        )
    blocks = described.get("blocks")
    same = None if "blocks" in described else {key: described[key] for key in _DESCRIPTION}
    each = {"all blocks": same} if same is not None else blocks if isinstance(blocks, dict) else {"blocks": blocks}
    for name, adapters in each.items():
        try:
            check_adapters(**(adapters if isinstance(adapters, dict) else {}))
        except (InvalidArgumentError, TypeError) as error:
            raise CorruptFileError(f"{path}: its header does not describe LoRA matrices of {name}: {error}") from error
    return {**described, "blocks": blocks, "adapters": same}
