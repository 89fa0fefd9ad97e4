"""Which weights of a model a training step may change."""

import math

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.adapted_block import ADAPTER_WEIGHTS
from vit_keras.layers.base.checks import check_choice
from vit_keras.models.wiring import read_model

CHOICES = ("full", "head", "bias", "last_blocks", "adapters")
"""What `set_trainable` can leave trainable."""

_BEFORE_BLOCKS = ("normalization", "patches", "conv_stem", "patch_encoder", "stem_norm")
_BIASES = ("bias", "beta", "query_bias", "value_bias")


def set_trainable(model: keras.Model, what: str, *, last_blocks: int = 2) -> None:
    """Sets which weights of a model train; all others keep every bit, and the optimizer keeps nothing for them.

    A model that was compiled has to be compiled again, and says so in `fit`: Keras would go on with the old choice. A
    `.keras` file keeps the choice, but for "bias": Keras says of a norm outside the blocks only whether it trains as a whole, so call
    this again after a load.

    Args:
        model: A model that `vit` or `from_preset` made.
        what: "full", everything; "head", the head alone, both heads of a distilled model, or the layers of your own; "bias", the head with all biases
            and shifts of norms (Ben Zaken et al. 2022, arXiv 2106.10199); "last_blocks", the last blocks with all after them;
            "adapters", the head with what `add_lora` added. A convolutional stem trains only under "full": its batch norms
            would gather averages otherwise.
        last_blocks: How many, for "last_blocks".

    Raises:
        InvalidArgumentError: An argument is not legal, the model is none of ours, or nothing would train.

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
            f"last_blocks={last_blocks!r} is not a whole number from 1 to the model's {num_layers}."
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
    if what == "adapters" and not any(weight.name in ADAPTER_WEIGHTS for weight in model.weights):
        raise InvalidArgumentError('set_trainable(model, "adapters"): the model has none; add_lora adds them.')
    model.trainable = False  # on TensorFlow Keras skips what is set already: to and fro reaches all
    model.trainable = True
    for layer in layers:
        if layer.weights and not chosen[layer.name]:
            layer.trainable = False  # batch norms then leave their averages alone
        for weight in layer.trainable_weights:
            weight.trainable = any(weight is other for other in chosen[layer.name])
    model.compiled = False


def _trains(layer: str, weight: str, what: str, frozen: set[str]) -> bool:
    """Whether a weight trains that is in no head, by its name and that of the model's layer it is in."""
    if what == "full":
        return True
    if what == "last_blocks":
        return layer not in frozen
    if what == "bias":
        return weight in _BIASES and layer != "conv_stem"
    return what == "adapters" and weight in ADAPTER_WEIGHTS


def trainable_params(model: keras.Model) -> int:
    """Returns how many numbers of a model train.

    Args:
        model: Any model.
    """
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
