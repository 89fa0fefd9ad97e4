"""The encoder that a method trains: a model without its head."""

import logging

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import check_not_quantized
from vit_keras.models.wiring import read_model

_log = logging.getLogger(__name__)


def remove_head(model: keras.Model) -> keras.Model:
    """Returns a model without head and own layers: the model itself, or, where it has any, a copy without them, which is logged.

    Raises:
        InvalidArgumentError: `vit` did not build the model, or its weights are quantized or all frozen.
    """
    from vit_keras.zoo.rebuild import rebuild

    check_not_quantized(model, "Pre-training")
    heads = read_model(model).heads
    if heads:
        names = ", ".join(repr(layer.name) for layer in heads)
        _log.warning("Pre-training trains a copy of %r without its head (%s).", model.name, names)
        model = rebuild(model, num_classes=0)
    if not model.trainable_variables:
        raise InvalidArgumentError(
            f"All weights of {model.name!r} are frozen, so pre-training would change nothing. Set model.trainable = True."
        )
    return model
