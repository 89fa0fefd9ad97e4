"""Adapters: a fine-tuned model as a few thin matrices and a head beside weights that stay as they are."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import safe_open

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, InvalidArgumentError, WeightMismatchError
from vit_keras.layers import TransformerBlock
from vit_keras.layers.adapted_block import ADAPTER_WEIGHTS, TARGETS, AdaptedBlock, LowRank, check_adapters
from vit_keras.models.vit import check_not_quantized
from vit_keras.models.wiring import read_model
from vit_keras.runtime.strict_json import parse_json
from vit_keras.training.transfer.freezing import set_trainable
from vit_keras.weights import write_tensors
from vit_keras.weights.formats.safetensors import SafetensorsFile
from vit_keras.weights.store import read_tensors
from vit_keras.zoo.rebuild import rebuild

FORMAT = 1
_KEY = "vit_keras_adapters"  # in the header of the file
_NOT_OF_THE_WEIGHTS = (
    "dropout_rate", "attention_dropout_rate", "stochastic_depth_rate", "remat", "position_resize", "patch_resize",
)  # fmt: skip
"""Fields of a config that change nothing a trained weight means."""


def add_lora(
    model: keras.Model, *, rank: int = 8, alpha: float | None = None, targets: Sequence[str] = TARGETS
) -> keras.Model:
    """Returns a copy of a model in which thin matrices beside the blocks' projections train, with the head, and nothing else.

    Until it is trained the copy gives what the model gives: bit for bit, but where a compiler joins other operations than before
    and rounds the last digit otherwise, as TensorFlow does in `predict`. It has weights of its own and has to be compiled; the
    model stays as it is. Queries, keys and values are one projection and share one product. In a `.keras` file the adapters stay
    adapters, and what trains stays what trains.

    Paper: Hu et al. 2021, arXiv 2106.09685.

    Args:
        model: A model that `vit` or `from_preset` made.
        rank: Width between the two matrices of an adapter; the width of a token at most.
        alpha: What an adapter adds is scaled by `alpha / rank`; None for `rank`, a scale of 1.
        targets: Which projections: "qkv" and "output" of the attention, "expand" and "contract" of the MLP.

    Raises:
        InvalidArgumentError: An argument is not legal, or the model is none of ours or has adapters.

    Example:
        >>> from vit_keras import vit
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> adapted = add_lora(vit(config, num_classes=10), rank=4, targets=["qkv"])
        >>> len(adapted.trainable_variables)
        6
    """
    if adapters_of(model) is not None:
        raise InvalidArgumentError("The model has adapters already: merge_lora makes them part of its weights.")
    alpha = rank if alpha is None else alpha
    check_adapters(rank=rank, alpha=alpha, targets=targets)
    hidden_dim = read_model(model).config.hidden_dim
    if rank > hidden_dim:
        raise InvalidArgumentError(f"rank={rank} is not thinner than the model's tokens, which are {hidden_dim} wide.")
    return _adapted(model, {"rank": rank, "alpha": alpha, "targets": list(targets)})


def adapters_of(model: keras.Model) -> dict[str, Any] | None:
    """Returns the `rank`, `alpha` and `targets` of a model's adapters, or None where it has none.

    Args:
        model: Any model.
    """
    return next((dict(layer.adapters) for layer in model._flatten_layers() if isinstance(layer, AdaptedBlock)), None)


def merge_lora(model: keras.Model) -> keras.Model:
    """Returns a plain model of the same config in which the adapters are part of the weights, as `save_preset` takes it.

    It has weights of its own, all of which train, and has to be compiled.

    Args:
        model: A model of `add_lora` or `load_lora`.

    Raises:
        InvalidArgumentError: The model has no adapters, or is quantized.

    Example:
        >>> from vit_keras import vit
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> model = vit(config, num_classes=10)
        >>> merged = merge_lora(add_lora(model))
        >>> [w.path for w in merged.weights] == [w.path for w in model.weights]
        True
    """
    _check_adapted(model)
    check_not_quantized(model, "merge_lora")
    merged = _with_blocks(model, None)
    kernels = read_model(merged).weights()
    for adapter in _adapters(model):
        down, up = _array(adapter.adapter_down), _array(adapter.adapter_up)
        kernel = _array(adapter.layer.kernel) + adapter.alpha / adapter.rank * (down @ up)
        kernels[adapter.layer.kernel.path].assign(kernel)
    set_trainable(merged, "full")
    return merged


def save_lora(model: keras.Model, path: str | Path) -> Path:
    """Writes a model's adapters and head as a safetensors file, which appears whole or not at all; the other weights aren't in it.

    Args:
        model: A model of `add_lora` or `load_lora`.
        path: The file; one that exists is replaced in one step.

    Raises:
        InvalidArgumentError: The model has no adapters, or also trains what the file would not hold.
        StorageError: The file can't be written.
    """
    path = Path(path)
    _check_adapted(model)
    own = _own_weights(model)
    more = [name for name, weight in read_model(model).weights().items() if weight.trainable and name not in own]
    if more:
        raise InvalidArgumentError(
            f"{len(more)} weights train that are neither an adapter's nor the head's, the first {more[:3]}, and a file of adapters "
            "would not hold them. Save the whole model, or choose what trains by set_trainable(model, 'adapters')."
        )
    described = {
        "format": FORMAT,
        **(adapters_of(model) or {}),
        "base": _digest(model),
        "config": _meaning(read_model(model).config),
    }
    tensors = {name: _array(weight) for name, weight in own.items()}
    write_tensors(tensors, path, metadata={_KEY: json.dumps(described)})
    return path


def load_lora(model: keras.Model, path: str | Path) -> keras.Model:
    """Returns a copy of a model with the adapters and the head that `save_lora` wrote, ready to predict, train on or merge.

    Args:
        model: The model whose copy was trained, with the same weights in it and a head of as many classes; adapters it has are
            left behind.
        path: The file.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: It is damaged, or holds a number that is not finite.
        WeightMismatchError: It is no file of adapters, or of another config, other weights or another head; nothing was changed.
    """
    path = Path(path)
    described = _described(path)
    here, there = _meaning(read_model(model).config), described["config"]
    reasons = [
        f"{name} is {there.get(name, 'unknown')!r} in the file and {here.get(name, 'unknown')!r} here"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    if not reasons and described["base"] != _digest(model):
        reasons = ["the weights beside them are others, though of the same config; load those it was trained from"]
    if reasons:
        raise WeightMismatchError(f"{path} holds adapters for another model: {'; '.join(reasons)}.")
    adapted = _adapted(model, {key: described[key] for key in ("rank", "alpha", "targets")})
    own = _own_weights(adapted)
    tensors = read_tensors(path, {name: tuple(weight.shape) for name, weight in own.items()})
    for name, weight in own.items():
        weight.assign(tensors[name])
    return adapted


def _adapted(model: keras.Model, adapters: dict[str, Any]) -> keras.Model:
    copy = _with_blocks(model, adapters)
    set_trainable(copy, "adapters")
    return copy


def _with_blocks(model: keras.Model, adapters: dict[str, Any] | None) -> keras.Model:
    """Returns a copy, weights and all, whose blocks have these adapters, or none."""

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, TransformerBlock):
            return type(layer).from_config(config)
        config.pop("adapters", None)
        return TransformerBlock(**config) if adapters is None else AdaptedBlock(**config, adapters=adapters)

    if read_model(model).is_nested:
        model = rebuild(model)  # one graph, whose layers can be exchanged
    # Keras compiles the clone of a compiled model, which would make an optimizer for all of its weights.
    not_compiled = keras.Model(model.input, model.output, name=model.name)
    clone = keras.models.clone_model(not_compiled, clone_function=copied)
    theirs = read_model(model).weights()
    for name, weight in read_model(clone).weights().items():
        if weight.name not in ADAPTER_WEIGHTS:
            weight.assign(np.array(keras.ops.convert_to_numpy(theirs[name])))
    return clone


def _adapters(model: keras.Model) -> list[LowRank]:
    return [adapter for layer in model.layers if isinstance(layer, AdaptedBlock) for adapter in layer.adapted]


def _check_adapted(model: keras.Model) -> None:
    if adapters_of(model) is None:
        raise InvalidArgumentError(f"The model {model.name!r} has no adapters; add_lora makes a copy that has.")


def _own_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns by name what a file of adapters holds."""
    parts = read_model(model)
    heads = {layer.name for layer in parts.heads}
    return {
        name: weight
        for name, weight in parts.weights().items()
        if name.split("/")[0] in heads or weight.name in ADAPTER_WEIGHTS
    }


def _array(weight: keras.Variable) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))


def _meaning(config: ViTConfig) -> dict[str, Any]:
    fields = {name: value for name, value in config.to_dict().items() if name not in _NOT_OF_THE_WEIGHTS}
    meaning: dict[str, Any] = json.loads(json.dumps(fields))
    return meaning


def _digest(model: keras.Model) -> str:
    """Returns a SHA-256 of all weights that neither adapters nor heads are, in bfloat16: float32, and half of it, give the same."""
    own, digest = _own_weights(model), hashlib.sha256()
    for name, weight in sorted(read_model(model).weights().items()):
        if name not in own:
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            rounded = keras.ops.cast(keras.ops.cast(weight, "bfloat16"), "float32")
            digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(rounded)).tobytes())
    return digest.hexdigest()


def _described(path: Path) -> dict[str, Any]:
    """Returns what the header of a file of adapters says of them."""
    with SafetensorsFile(path):  # its bytes are checked before another reader sees them
        pass
    with safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        raise WeightMismatchError(
            f"{path} is no file of adapters: its header has no {_KEY!r}. save_lora writes them; from_preset reads weights."
        )
    described = parse_json(text.encode(), f"{path}, {_KEY}")
    wanted = {"format", "rank", "alpha", "targets", "base", "config"}
    if not isinstance(described, dict) or described.keys() != wanted or not isinstance(described["config"], dict):
        raise CorruptFileError(f"{path}: its header does not describe adapters; expected exactly {sorted(wanted)}.")
    if described["format"] != FORMAT:
        raise WeightMismatchError(
            f"{path} has format {described['format']!r}; this version of vit_keras reads {FORMAT}."
        )
    try:
        check_adapters(**{key: described[key] for key in ("rank", "alpha", "targets")})
    except InvalidArgumentError as error:
        raise CorruptFileError(f"{path}: its header does not describe adapters: {error}") from error
    return described
