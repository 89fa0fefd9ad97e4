"""LoRA: adds low-rank matrices to a model, merges them, and saves them with the head in a small file."""

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
from vit_keras.layers.adapted_block import ADAPTER_WEIGHTS, TARGETS, AdaptedBlock, check_adapters
from vit_keras.models.vit import check_not_quantized
from vit_keras.models.wiring import read_model
from vit_keras.runtime.strict_json import parse_json
from vit_keras.training.transfer.freezing import set_trainable
from vit_keras.weights import write_tensors
from vit_keras.weights.digest import digest_weights
from vit_keras.weights.formats.safetensors import SafetensorsFile
from vit_keras.weights.store import read_tensors
from vit_keras.zoo.rebuild import rebuild

FORMAT = 1
_KEY = "vit_keras_adapters"  # in the header of the file
_NOT_OF_THE_WEIGHTS = (
    "dropout_rate", "attention_dropout_rate", "stochastic_depth_rate", "remat", "position_resize", "patch_resize",
)  # fmt: skip
"""Fields of a config that do not change the meaning of a weight."""


def add_lora(
    model: keras.Model, *, rank: int = 8, alpha: float | None = None, targets: Sequence[str] = TARGETS
) -> keras.Model:
    """Returns a copy of a model with LoRA matrices in its blocks; only these and the head train.

    Before training, the copy has the outputs of the model: bit for bit, except where a compiler fuses other operations and rounds
    differently, as TensorFlow does in `predict`. It has its own weights and must be compiled. Queries, keys and values are one projection
    and share one low-rank product. A `.keras` file keeps the LoRA matrices and what trains.

    Paper: Hu et al. 2021, arXiv 2106.09685.

    Args:
        model: Made by `vit` or `from_preset`.
        rank: Rank of the update; at most the hidden dimension.
        alpha: The update is scaled by `alpha / rank`; None for `rank`, a scale of 1.
        targets: Which projections: "qkv" and "output" of the attention, "expand" and "contract" of the MLP.

    Raises:
        InvalidArgumentError: An argument is not legal, or the model is not a vit_keras model or has LoRA matrices.

    Example:
        >>> from vit_keras import vit
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> adapted = add_lora(vit(config, num_classes=10), rank=4, targets=["qkv"])
        >>> len(adapted.trainable_variables)
        6
    """
    if read_lora_config(model) is not None:
        raise InvalidArgumentError("The model already has LoRA matrices: merge_lora adds them to its weights.")
    alpha = rank if alpha is None else alpha
    check_adapters(rank=rank, alpha=alpha, targets=targets)
    hidden_dim = read_model(model).config.hidden_dim
    if rank > hidden_dim:
        raise InvalidArgumentError(f"rank must be at most the hidden dimension {hidden_dim}, got {rank}.")
    return _copy_with_lora(model, {"rank": rank, "alpha": alpha, "targets": list(targets)})


def read_lora_config(model: keras.Model) -> dict[str, Any] | None:
    """Returns the `rank`, `alpha` and `targets` of a model's LoRA matrices, or None where it has none."""
    return next((dict(layer.adapters) for layer in model._flatten_layers() if isinstance(layer, AdaptedBlock)), None)


def merge_lora(model: keras.Model) -> keras.Model:
    """Returns a plain model of the same config with the LoRA matrices added to its weights, for `save_preset`.

    It has its own weights, all trainable, and must be compiled.

    Args:
        model: Made by `add_lora` or `load_lora`.

    Raises:
        InvalidArgumentError: The model has no LoRA matrices, or is quantized.
    """
    _check_has_lora(model)
    check_not_quantized(model, "merge_lora")
    merged = _replace_blocks(model, None)
    kernels = read_model(merged).weights()
    adapted = [adapter for layer in model.layers if isinstance(layer, AdaptedBlock) for adapter in layer.adapted]
    for adapter in adapted:
        down, up = _array(adapter.adapter_down), _array(adapter.adapter_up)
        kernel = _array(adapter.layer.kernel) + adapter.alpha / adapter.rank * (down @ up)
        kernels[adapter.layer.kernel.path].assign(kernel)
    set_trainable(merged, "full")
    return merged


def save_lora(model: keras.Model, path: str | Path) -> Path:
    """Writes a model's LoRA matrices and head, without the other weights, to a safetensors file, atomically.

    Args:
        model: Made by `add_lora` or `load_lora`.
        path: The file; an existing file is replaced.

    Raises:
        InvalidArgumentError: The model has no LoRA matrices, or trains weights that the file would not hold.
        StorageError: The file cannot be written.
    """
    path = Path(path)
    _check_has_lora(model)
    own = _own_weights(model)
    more = [name for name, weight in read_model(model).weights().items() if weight.trainable and name not in own]
    if more:
        raise InvalidArgumentError(
            f"{len(more)} trainable weights belong neither to LoRA nor to the head, the first {more[:3]}, so the file would not hold "
            "them. Save the whole model, or freeze them with set_trainable(model, 'lora')."
        )
    described = {
        "format": FORMAT,
        **(read_lora_config(model) or {}),
        "base": _digest(model),
        "config": _compatible_fields(read_model(model).config),
    }
    tensors = {name: _array(weight) for name, weight in own.items()}
    write_tensors(tensors, path, metadata={_KEY: json.dumps(described)})
    return path


def load_lora(model: keras.Model, path: str | Path) -> keras.Model:
    """Returns a copy of a model with the LoRA matrices and the head of a file, ready to predict, train or merge.

    Args:
        model: With the weights that `add_lora` was given and as many classes; LoRA matrices that it has are dropped.
        path: A file of `save_lora`.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: It is damaged, or holds a number that is not finite.
        WeightMismatchError: It is not a LoRA file, or is for another config, other weights or another head.
    """
    path = Path(path)
    described = _read_header(path)
    here, there = _compatible_fields(read_model(model).config), described["config"]
    reasons = [
        f"{name} is {there.get(name, 'unknown')!r} in the file and {here.get(name, 'unknown')!r} here"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    if not reasons and described["base"] != _digest(model):
        reasons = ["the config is the same, but the other weights differ; load the weights it was trained from"]
    if reasons:
        raise WeightMismatchError(f"{path} holds LoRA matrices for another model: {'; '.join(reasons)}.")
    adapted = _copy_with_lora(model, {key: described[key] for key in ("rank", "alpha", "targets")})
    own = _own_weights(adapted)
    tensors = read_tensors(path, {name: tuple(weight.shape) for name, weight in own.items()})
    for name, weight in own.items():
        weight.assign(tensors[name])
    return adapted


def _copy_with_lora(model: keras.Model, adapters: dict[str, Any]) -> keras.Model:
    copy = _replace_blocks(model, adapters)
    set_trainable(copy, "lora")
    return copy


def _replace_blocks(model: keras.Model, adapters: dict[str, Any] | None) -> keras.Model:
    """Returns a copy with the same weights, whose blocks have these LoRA matrices, or none."""

    def copy_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, TransformerBlock):
            return type(layer).from_config(config)
        config.pop("adapters", None)
        return TransformerBlock(**config) if adapters is None else AdaptedBlock(**config, adapters=adapters)

    if read_model(model).is_nested:
        model = rebuild(model)  # into one graph, whose layers can be replaced
    # Keras compiles the clone of a compiled model, with an optimizer for all weights.
    not_compiled = keras.Model(model.input, model.output, name=model.name)
    clone = keras.models.clone_model(not_compiled, clone_function=copy_layer)
    source = read_model(model).weights()
    for name, weight in read_model(clone).weights().items():
        if weight.name not in ADAPTER_WEIGHTS:
            weight.assign(np.array(keras.ops.convert_to_numpy(source[name])))
    return clone


def _check_has_lora(model: keras.Model) -> None:
    if read_lora_config(model) is None:
        raise InvalidArgumentError(f"The model {model.name!r} has no LoRA matrices; add_lora returns a copy with them.")


def _own_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights that a LoRA file holds."""
    parts = read_model(model)
    heads = {layer.name for layer in parts.heads}
    return {
        name: weight
        for name, weight in parts.weights().items()
        if name.split("/")[0] in heads or weight.name in ADAPTER_WEIGHTS
    }


def _array(weight: keras.Variable) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))


def _compatible_fields(config: ViTConfig) -> dict[str, Any]:
    fields = {name: value for name, value in config.to_dict().items() if name not in _NOT_OF_THE_WEIGHTS}
    compatible: dict[str, Any] = json.loads(json.dumps(fields))
    return compatible


def _digest(model: keras.Model) -> str:
    """Returns the SHA-256 of the frozen weights, rounded to bfloat16: the same whether the model is in float32 or bfloat16."""
    own = _own_weights(model)
    return digest_weights(
        (f"{name} {tuple(weight.shape)}", _array(keras.ops.cast(weight, "bfloat16")))
        for name, weight in sorted(read_model(model).weights().items())
        if name not in own
    )


def _read_header(path: Path) -> dict[str, Any]:
    with SafetensorsFile(path):  # checks the bytes before another reader sees them
        pass
    with safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        raise WeightMismatchError(
            f"{path} is not a LoRA file: its header has no {_KEY!r}. save_lora writes such files; from_preset reads weights."
        )
    described = parse_json(text.encode(), f"{path}, {_KEY}")
    wanted = {"format", "rank", "alpha", "targets", "base", "config"}
    if not isinstance(described, dict) or described.keys() != wanted or not isinstance(described["config"], dict):
        raise CorruptFileError(
            f"{path}: its header does not describe LoRA matrices; expected exactly {sorted(wanted)}."
        )
    if described["format"] != FORMAT:
        raise WeightMismatchError(
            f"{path} has format {described['format']!r}; this version of vit_keras reads {FORMAT}."
        )
    try:
        check_adapters(**{key: described[key] for key in ("rank", "alpha", "targets")})
    except InvalidArgumentError as error:
        raise CorruptFileError(f"{path}: its header does not describe LoRA matrices: {error}") from error
    return described
