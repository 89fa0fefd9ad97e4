"""Puts LoRA matrices into a copy of a model, reads which it has, and takes them out again."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import TransformerBlock
from vit_keras.layers.adapted_block import ADAPTER_WEIGHTS, AdaptedBlock
from vit_keras.models.wiring import read_model
from vit_keras.training.transfer.freezing import set_trainable
from vit_keras.zoo.rebuild import rebuild

BlockAdapters = Mapping[str, Mapping[str, Any]]
"""The `adapters` of an `AdaptedBlock`, by the block's name."""


def read_adapters(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Returns the LoRA matrices of a model as `BlockAdapters`; empty where it has none."""
    return {layer.name: dict(layer.adapters) for layer in model._flatten_layers() if isinstance(layer, AdaptedBlock)}


def check_has_lora(model: keras.Model) -> None:
    """Raises `InvalidArgumentError` for a model without LoRA matrices."""
    if not read_adapters(model):
        raise InvalidArgumentError(f"The model {model.name!r} has no LoRA matrices; add_lora returns a copy with them.")


def copy_with_lora(model: keras.Model, adapters: BlockAdapters) -> keras.Model:
    """Returns a copy with new LoRA matrices, of which only these and the head train; its own matrices are dropped."""
    copy = replace_blocks(model, adapters)
    set_trainable(copy, "lora")
    return copy


def replace_blocks(model: keras.Model, adapters: BlockAdapters) -> keras.Model:
    """Returns a copy with the same weights, whose blocks have these LoRA matrices, and no others."""

    def copy_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, TransformerBlock):
            return type(layer).from_config(config)
        config.pop("adapters", None)
        if layer.name not in adapters:
            return TransformerBlock(**config)
        return AdaptedBlock(**config, adapters=dict(adapters[layer.name]))

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


def own_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights that a LoRA file always holds: the matrices and the head."""
    parts = read_model(model)
    heads = {layer.name for layer in parts.heads}
    return {
        name: weight
        for name, weight in parts.weights().items()
        if name.split("/")[0] in heads or weight.name in ADAPTER_WEIGHTS
    }


def list_other_trained(model: keras.Model) -> list[str]:
    """Returns the names of the weights that train and are neither LoRA matrices nor the head's."""
    own = own_weights(model)
    return [name for name, weight in read_model(model).weights().items() if weight.trainable and name not in own]


def to_array(weight: keras.Variable) -> np.ndarray:
    """Returns a copy of a weight in float32."""
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))
