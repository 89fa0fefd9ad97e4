"""Freezes weights of a model."""

import math
from collections.abc import Collection

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.adapted_block import ADAPTER_WEIGHTS
from vit_keras.layers.base.checks import check_choice
from vit_keras.models.wiring import read_model

CHOICES = ("full", "head", "bias", "last_blocks", "lora")  # for `set_trainable`

_BEFORE_BLOCKS = ("normalization", "patches", "conv_stem", "patch_encoder", "stem_norm", "relative_position")
_BIASES = ("bias", "beta", "query_bias", "value_bias")


def set_trainable(model: keras.Model, what: str, *, last_blocks: int = 2) -> None:
    """Sets which weights of a model train, and freezes all others; the optimizer keeps no state for frozen weights.

    A compiled model must be compiled again, or `fit` raises an error: Keras would use the old choice. A `.keras` file keeps the choice,
    except for "bias": Keras saves per layer whether a norm outside the blocks trains, so call this again after loading.

    Args:
        model: Made by `vit` or `from_preset`.
        what: "full", all weights; "head", the head: both heads of a distilled model, or your own layers; "bias", the head, all
            biases and the shifts of norms (Ben Zaken et al. 2022, arXiv 2106.10199); "last_blocks", the last blocks and everything
            after them; "lora", the head and what `add_lora` added. A convolutional stem trains only under "full", because its
            batch norms would otherwise update their averages.
        last_blocks: Number of blocks, for "last_blocks".

    Raises:
        InvalidArgumentError: An argument is not legal, the model is not a vit_keras model, or nothing would train.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> model = vit(config, num_classes=10)
        >>> set_trainable(model, "head")
        >>> trainable_params(model)
        650
    """
    check_choice("set_trainable", choices=CHOICES, what=what)
    parts = read_model(model)
    num_layers = parts.config.num_layers
    if what == "last_blocks" and (type(last_blocks) is not int or not 1 <= last_blocks <= num_layers):
        raise InvalidArgumentError(
            f"last_blocks must be an integer from 1 to the model's {num_layers}, got {last_blocks!r}."
        )
    frozen = {*_BEFORE_BLOCKS, *(f"block_{index:02d}" for index in range(num_layers - last_blocks))}
    heads, layers = {layer.name for layer in parts.heads}, [*parts.layers.values(), *parts.own_head]
    chosen = {
        layer.name: [
            weight for weight in layer.weights if layer.name in heads or _trains(layer.name, weight.name, what, frozen)
        ]
        for layer in layers
    }
    if not any(chosen.values()):
        raise InvalidArgumentError(
            f'set_trainable(model, "{what}"): the model has no head; vit(config, num_classes=...) makes one.'
        )
    if what == "lora" and not any(weight.name in ADAPTER_WEIGHTS for weight in model.weights):
        raise InvalidArgumentError(
            'set_trainable(model, "lora"): the model has no LoRA matrices; add_lora(model) adds them.'
        )
    train_only(model, [weight for weights in chosen.values() for weight in weights])


def train_only(model: keras.Model, chosen: Collection[keras.Variable]) -> None:
    """Sets exactly which weights of a model train; it must be compiled again."""
    parts, ids = read_model(model), {id(weight) for weight in chosen}
    model.trainable = False  # Keras on TensorFlow skips what is already set, so switch off and on again
    model.trainable = True
    for layer in (*parts.layers.values(), *parts.own_head):
        if layer.weights and not any(id(weight) in ids for weight in layer.weights):
            layer.trainable = False  # batch norms then do not update their averages
        for weight in layer.trainable_weights:
            weight.trainable = id(weight) in ids
    model.compiled = False


def _trains(layer: str, weight: str, what: str, frozen: set[str]) -> bool:
    if what == "full":
        return True
    if what == "last_blocks":
        return layer not in frozen
    if what == "bias":
        return weight in _BIASES and layer != "conv_stem"
    return what == "lora" and weight in ADAPTER_WEIGHTS


def trainable_params(model: keras.Model) -> int:
    """Returns the number of trainable parameters."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
