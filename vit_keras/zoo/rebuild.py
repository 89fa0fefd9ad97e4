"""Rebuilds a model with a changed config and the same weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.layers.stochastic_depth import TRACED_RATE
from vit_keras.models.architecture import HEADS
from vit_keras.models.own_head import copy, find_classifier, is_probabilities
from vit_keras.models.vit import append_layers, check_not_quantized, vit
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.weights.adapt.options import AdaptOptions
from vit_keras.weights.formats.tensor_file import TensorFile, TensorInfo
from vit_keras.weights.head import differing_features, head_change
from vit_keras.weights.loading import read_weights
from vit_keras.weights.planning import plan


def rebuild(
    model: keras.Model,
    *,
    num_classes: int | None = None,
    classifier_activation: str | None = None,
    dtype_policy: str | None = None,
    **changes: Any,
) -> keras.Model:
    """Returns a new model, not compiled, with the same weights and a changed config, such as another image size.

    Positions, patches and channels are resized by the config's rules, as in `from_preset`; a head for another number of classes
    starts at zero; frozen layers stay frozen. The old model is unchanged.

    Your own layers behind the model keep their weights; for another number of classes the last dense one of them is new. A model
    nested in a `Sequential` or functional model is flattened: the new model is one graph.

    Args:
        model: A model that `vit` or `from_preset` made, perhaps with simple Keras layers behind it.
        num_classes: Classes of the head; 0 for no head and no own layers, None for as many as the model has.
        classifier_activation: The final activation: "softmax" for probabilities, "linear" for logits; None for the model's own.
        dtype_policy: Such as "mixed_bfloat16"; None for the model's own.
        **changes: Fields of `ViTConfig`.

    Raises:
        InvalidArgumentError: vit_keras did not make the model, or it is quantized, or a change is illegal.
        WeightMismatchError: The weights do not fit the changed config.

    Example:
        >>> from vit_keras import from_preset
        >>> model = rebuild(from_preset("test_vit", num_classes=10), image_size=64, stochastic_depth_rate=0.1)
        >>> model.input_shape, model.output_shape
        ((None, 64, 64, 3), (None, 10))
    """
    check_not_quantized(model, "rebuild")
    parts = read_model(model)
    config = parts.config.replace(**changes)
    policy = parts.layers["patch_encoder"].dtype_policy.name
    with _dtype_policy(dtype_policy or policy):
        head_classes, activation, own_head = _build_end(
            parts, num_classes, classifier_activation, {policy: dtype_policy or policy}
        )
        body = vit(config, num_classes=head_classes, classifier_activation=activation, name=model.name)
        new = append_layers(body, own_head)
    is_head_new = num_classes is not None and num_classes != parts.num_classes
    if own_head:
        differing = differing_features(asdict(parts.config), config)
        if differing:
            raise WeightMismatchError(
                f"Your own head was trained on features of {differing}, which you changed; num_classes=0 removes it."
            )
    _copy_weights(body, parts, config, num_classes)
    _copy_own_weights(own_head, parts.own_weights(), new=find_classifier(own_head) if is_head_new else None)
    variables = read_model(new).weights()
    for name, weight in parts.weights().items():
        if name in variables:
            variables[name].trainable = weight.trainable
    if not is_head_new:
        for name in ("class_names", "task", "threshold"):
            setattr(new, name, getattr(model, name, None))
    return new


def _build_end(
    parts: ModelParts, num_classes: int | None, classifier_activation: str | None, dtype_policies: Mapping[str, str]
) -> tuple[int | None, str | None, list[keras.layers.Layer]]:
    """Returns classes and activation of the head that `vit` makes, and the user's own layers, new and without weights."""
    wanted = parts.num_classes if num_classes is None else num_classes or None
    if num_classes == 0 and classifier_activation is not None:
        raise InvalidArgumentError(f"classifier_activation={classifier_activation!r} needs classes, and num_classes=0.")
    if num_classes == 0 or not parts.own_head:
        given = parts.classifier_activation if classifier_activation is None else classifier_activation
        return wanted, given if wanted else None, []
    head_classes, activation = parts.head_classes, parts.classifier_activation
    classifier, layers = find_classifier(parts.own_head), list[keras.layers.Layer]()
    for layer in parts.own_head:
        is_new = layer is classifier and wanted != parts.num_classes
        changes = {"units": wanted, "kernel_initializer": "zeros"} if is_new else {}
        layers.append(copy(layer, dtype_policies=dtype_policies, **changes))
    if classifier is None and head_classes is not None:
        head_classes = wanted
    elif classifier is None and wanted is not None:
        layers.append(keras.layers.Dense(wanted, kernel_initializer="zeros", dtype="float32", name=HEADS[0]))
    if classifier_activation is not None:
        if wanted is None:
            raise InvalidArgumentError(
                f"classifier_activation={classifier_activation!r} needs a head: give num_classes."
            )
        while layers and is_probabilities(layers[-1]):
            layers.pop()
        if not layers:
            activation = classifier_activation
        elif isinstance(layers[-1], keras.layers.Dense):
            layers[-1] = copy(layers[-1], activation=classifier_activation)
        elif classifier_activation != "linear":
            layers.append(keras.layers.Activation(classifier_activation, dtype="float32", name="probabilities"))
    return head_classes, activation if head_classes else None, layers


def _copy_weights(body: keras.Model, parts: ModelParts, config: ViTConfig, num_classes: int | None) -> None:
    variables = {weight.path: weight for weight in body.weights}
    shapes = {name: tuple(weight.shape) for name, weight in variables.items()}
    stated = asdict(parts.config)
    adapt = AdaptOptions(
        head=head_change(num_classes, stated, config), fewer_layers=config.num_layers < parts.config.num_layers
    )
    memory = _ModelFile(parts, body.name)
    steps = plan(shapes, config, memory, source="vit_keras", adapt=adapt, stated=stated)
    for name, array in read_weights(steps, memory, variables, allow_nonfinite=True):
        variables[name].assign(array)


def _copy_own_weights(
    own_head: Sequence[keras.layers.Layer], weights: Mapping[str, keras.Variable], *, new: keras.layers.Layer | None
) -> None:
    """Assigns the weights of own layers; from the new layer on, weights of other shapes keep their initial values."""
    must_fit = True
    for layer in own_head:
        must_fit = must_fit and layer is not new
        for weight in layer.weights:
            name = f"{layer.name}/{weight.name}"
            old = weights.get(name)
            if old is not None and tuple(old.shape) == tuple(weight.shape):
                weight.assign(np.array(keras.ops.convert_to_numpy(old)))
            elif must_fit:
                raise WeightMismatchError(
                    f"{name} of your own head has shape {None if old is None else tuple(old.shape)}, and the changed model needs "
                    f"{tuple(weight.shape)}; num_classes=0 removes the head."
                )


class _ModelFile(TensorFile):
    """A model's weights with the interface of a checkpoint file."""

    def __init__(self, parts: ModelParts, name: str) -> None:
        own = parts.own_weights()
        # A traced rate is a field of the config, not a weight.
        self._weights = {
            name: weight for name, weight in parts.weights().items() if name not in own and weight.name != TRACED_RATE
        }
        self.path = Path(name)
        self.tensors = {
            name: TensorInfo(tuple(weight.shape), keras.backend.standardize_dtype(weight.dtype))
            for name, weight in self._weights.items()
        }

    def read(self, name: str) -> np.ndarray:
        return np.array(keras.ops.convert_to_numpy(self._weights[name]))


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(name)
    except ValueError as error:
        raise InvalidArgumentError(f"dtype_policy={name!r} is not a policy of Keras: {error}") from error
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
