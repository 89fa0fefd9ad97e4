"""A model built anew with something changed, and the weights it had."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.head_features import differing_features, head_change
from vit_keras.weights.planning import plan


def rebuild(
    model: keras.Model,
    *,
    num_classes: int | None = None,
    classifier_activation: str | None = None,
    dtype_policy: str | None = None,
    **changes: Any,
) -> keras.Model:
    """Returns a new model with the same weights and other fields of its config, such as another image size in mid-training.

    Positions, patches and channels are resized by the config's rules, as by `from_preset`; a head for another number of classes is
    new, at zero; what was frozen stays frozen. The old model is left as it is. A new model is not compiled.

    Layers of your own behind the model stay, with their weights: for another number of classes the last dense one of them is the
    one that is new. A model inside of a `Sequential` or functional one comes out of it: the new model is one graph.

    Args:
        model: A model that `vit` or `from_preset` made, perhaps with simple layers of Keras behind it.
        num_classes: Classes of the head; 0 for no head and no layers of your own, None for as many as the model has.
        classifier_activation: What the model ends in: "softmax" for probabilities, "linear" for logits; None for the model's own.
        dtype_policy: Such as "mixed_bfloat16"; None for the model's own.
        **changes: Fields of `ViTConfig`.

    Raises:
        InvalidArgumentError: The model is none of ours or is quantized, or a change is not legal.
        WeightMismatchError: The weights don't fit what was changed.

    Example:
        >>> from vit_keras import ViTConfig
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=64)
        >>> model = rebuild(vit(config, num_classes=10), image_size=64, stochastic_depth_rate=0.1)
        >>> model.input_shape, model.output_shape
        ((None, 64, 64, 3), (None, 10))
    """
    check_not_quantized(model, "rebuild")
    parts = read_model(model)
    config = parts.config.replace(**changes)
    policy = parts.layers["patch_encoder"].dtype_policy.name
    with _policy(dtype_policy or policy):
        end = _end(parts, num_classes, classifier_activation, {policy: dtype_policy or policy})
        body = vit(
            config, num_classes=end.head_classes, classifier_activation=end.classifier_activation, name=model.name
        )
        new = append_layers(body, end.own_head)
    renewed = num_classes is not None and num_classes != parts.num_classes
    memory = _Memory(parts, model.name)
    if end.own_head:
        _check_features(parts.config, config)
    _fill(body, memory, config, parts.config, num_classes)
    _fill_own(end.own_head, parts.own_weights(), renewed=find_classifier(end.own_head) if renewed else None)
    variables = read_model(new).weights()
    for name, weight in parts.weights().items():
        if name in variables:
            variables[name].trainable = weight.trainable
    if not renewed:
        new.class_names = getattr(model, "class_names", None)
    return new


@dataclass(frozen=True)
class _End:
    """What a model ends in: the head that `vit` makes, then layers of the user's own."""

    head_classes: int | None
    classifier_activation: str | None
    own_head: tuple[keras.layers.Layer, ...]


def _end(
    parts: ModelParts, num_classes: int | None, classifier_activation: str | None, dtype_policies: Mapping[str, str]
) -> _End:
    """Returns the new model's end, its own layers new and without weights."""
    wanted = parts.num_classes if num_classes is None else num_classes or None
    if num_classes == 0 and classifier_activation is not None:
        raise InvalidArgumentError(f"classifier_activation={classifier_activation!r} needs classes, and num_classes=0.")
    if num_classes == 0 or not parts.own_head:
        given = parts.classifier_activation if classifier_activation is None else classifier_activation
        return _End(wanted, given if wanted else None, ())
    head_classes, activation = parts.head_classes, parts.classifier_activation
    classifier, new_layers = find_classifier(parts.own_head), list[keras.layers.Layer]()
    for layer in parts.own_head:
        renewed = {"units": wanted, "kernel_initializer": "zeros"} if wanted != parts.num_classes else {}
        new_layers.append(copy(layer, dtype_policies=dtype_policies, **(renewed if layer is classifier else {})))
    if classifier is None and head_classes is not None:
        head_classes = wanted
    elif classifier is None and wanted is not None:
        new_layers.append(keras.layers.Dense(wanted, kernel_initializer="zeros", dtype="float32", name=HEADS[0]))
    if classifier_activation is not None:
        if wanted is None:
            raise InvalidArgumentError(
                f"classifier_activation={classifier_activation!r} needs a head: give num_classes."
            )
        while new_layers and is_probabilities(new_layers[-1]):
            new_layers.pop()
        if not new_layers:
            activation = classifier_activation
        elif isinstance(new_layers[-1], keras.layers.Dense):
            new_layers[-1] = copy(new_layers[-1], activation=classifier_activation)
        elif classifier_activation != "linear":
            new_layers.append(keras.layers.Activation(classifier_activation, dtype="float32", name="probabilities"))
    return _End(head_classes, activation if head_classes else None, tuple(new_layers))


def _check_features(before: ViTConfig, config: ViTConfig) -> None:
    """Raises `WeightMismatchError` where own layers would see other features than they were trained on."""
    differing = differing_features(asdict(before), config)
    if differing:
        raise WeightMismatchError(
            f"Your own head was trained on features of {differing}, which are changed; num_classes=0 leaves it out."
        )


def _fill(body: keras.Model, memory: "_Memory", config: ViTConfig, before: ViTConfig, num_classes: int | None) -> None:
    """Assigns the weights of the layers that `vit` made."""
    variables = {weight.path: weight for weight in body.weights}
    adapt = AdaptOptions(
        head=head_change(num_classes, asdict(before), config), fewer_layers=config.num_layers < before.num_layers
    )
    shapes = {name: tuple(weight.shape) for name, weight in variables.items()}
    for step in plan(shapes, config, memory, source="vit_keras", adapt=adapt, stated=asdict(before)).steps:
        for name, array in step.run([memory.read(source) for source in step.sources]).items():
            if array.shape != shapes[name]:
                raise WeightMismatchError(f"{memory.path}: {name} became {array.shape}, not {shapes[name]}.")
            variables[name].assign(array)


def _fill_own(
    own_head: Sequence[keras.layers.Layer],
    weights: Mapping[str, keras.Variable],
    *,
    renewed: keras.layers.Layer | None,
) -> None:
    """Assigns the weights of the user's own layers; from one that is new on they are as drawn where their shapes are others."""
    fits = True
    for layer in own_head:
        fits = fits and layer is not renewed
        for weight in layer.weights:
            name = f"{layer.name}/{weight.name}"
            old = weights.get(name)
            if old is not None and tuple(old.shape) == tuple(weight.shape):
                weight.assign(np.array(keras.ops.convert_to_numpy(old)))
            elif fits:
                raise WeightMismatchError(
                    f"{name} of your own head is {None if old is None else tuple(old.shape)}, and what was changed makes it "
                    f"{tuple(weight.shape)}; num_classes=0 leaves the head out."
                )


class _Memory:
    """The weights of the layers that `vit` made, as the readers of files see a file."""

    def __init__(self, parts: ModelParts, name: str) -> None:
        own = parts.own_weights()
        # A traced rate is a field of the config, which tells it.
        self._weights = {
            name: weight for name, weight in parts.weights().items() if name not in own and weight.name != TRACED_RATE
        }
        self.path = Path(name)
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(tuple(weight.shape), keras.backend.standardize_dtype(weight.dtype))
            for name, weight in self._weights.items()
        }

    def read(self, name: str) -> np.ndarray:
        return np.array(keras.ops.convert_to_numpy(self._weights[name]))

    def close(self) -> None:
        pass

    def __enter__(self) -> "_Memory":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(name)
    except ValueError as error:
        raise InvalidArgumentError(f"dtype_policy={name!r} is none that Keras has: {error}") from error
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
