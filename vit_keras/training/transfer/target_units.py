"""The layer that turns a regression head's scaled numbers into the user's units, and how it becomes part of the head."""

from collections.abc import Sequence

import keras
import numpy as np

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.keras_model import VisionTransformer
from vit_keras.models.own_head import find_classifier, read_activation
from vit_keras.models.vit import append_layers
from vit_keras.models.wiring import read_model
from vit_keras.zoo.rebuild import rebuild

UNITS = "target_units"  # name of the layer


def append_units(model: keras.Model, *, mean: Sequence[float], scale: Sequence[float]) -> keras.Model:
    """Returns a model whose outputs times `scale` plus `mean` are those of the given one, followed by a layer that does that.

    So the outputs are the same, and the head computes scaled numbers; a new head, which is zero, predicts the mean.
    """
    if has_units(model):
        raise InvalidArgumentError(
            f"{model.name!r} predicts numbers in the units of other labels, and its last dense layer can't take them up, since it has no "
            "bias or other layers follow: remove its own layers with rebuild(model, num_classes=0)."
        )
    for head in read_model(model).classifiers:
        kernel, *bias = (keras.ops.convert_to_numpy(weight) for weight in head.weights)
        if not kernel.any() and not any(each.any() for each in bias):
            continue
        head.kernel.assign(kernel / np.asarray(scale))
        if bias:
            head.bias.assign((bias[0] - np.asarray(mean)) / np.asarray(scale))
    layer = keras.layers.Rescaling(list(map(float, scale)), offset=list(map(float, mean)), dtype="float32", name=UNITS)
    return _like(append_layers(model, [layer]), model)


def has_units(model: keras.Model) -> bool:
    """Whether a model ends in the layer that `append_units` adds."""
    own_head = read_model(model).own_head
    return bool(own_head) and own_head[-1].name == UNITS and isinstance(own_head[-1], keras.layers.Rescaling)


def without_units(model: keras.Model) -> keras.Model:
    """Returns a copy of a model without the layer that `append_units` added; the model itself where it has none."""
    return fold_units(rebuild(model)) if has_units(model) else model


def fold_units(model: keras.Model) -> keras.Model:
    """Returns a model without the layer that `append_units` added, its head changed in place so that the outputs are the same.

    The model itself is returned where it has no such layer, or a head that can't take it.
    """
    if not has_units(model):
        return model
    parts = read_model(model)
    layer, heads = parts.own_head[-1], parts.classifiers
    before = parts.own_head[:-1]
    is_last = not before or before[-1] is find_classifier(before)
    if not heads or not is_last or any(head.bias is None or read_activation(head) != "linear" for head in heads):
        return model
    scale, mean = np.asarray(layer.scale, "float32"), np.asarray(layer.offset, "float32")
    for head in heads:
        head.bias.assign(keras.ops.convert_to_numpy(head.bias) * scale + mean)
        head.kernel.assign(keras.ops.convert_to_numpy(head.kernel) * scale)
    return _like(VisionTransformer(model.input, layer.input, name=model.name), model)


def _like(new: keras.Model, model: keras.Model) -> keras.Model:
    for name in ("class_names", "task", "threshold"):
        setattr(new, name, getattr(model, name, None))
    return new
