"""A model built anew with something changed, and the weights it had."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.layers.stochastic_depth import TRACED_RATE
from vit_keras.model import check_not_quantized, config_of, num_classes_of, vit
from vit_keras.weights.files import TensorInfo
from vit_keras.weights.head_features import head_change
from vit_keras.weights.planning import plan
from vit_keras.weights.surgery import Surgery


def rebuilt(
    model: keras.Model, *, num_classes: int | None = None, dtype_policy: str | None = None, **changes: Any
) -> keras.Model:
    """Returns a new model with the same weights and other fields of its config, such as another image size in mid-training.

    Positions, patches and channels are resized by the config's rules, as by `from_preset`; a head for another number of classes is
    new, at zero; what was frozen stays frozen. The old model is left as it is. A new model is not compiled.

    Args:
        model: A model that `vit` or `from_preset` made.
        num_classes: Classes of the head; 0 for no head, None for as many as the model has.
        dtype_policy: Such as "mixed_bfloat16"; None for the model's own.
        **changes: Fields of `ViTConfig`.

    Raises:
        InvalidArgumentError: The model is none of ours or is quantized, or a change is not legal.
        WeightMismatchError: The weights don't fit what was changed.

    Example:
        >>> from vit_keras import ViTConfig
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=64)
        >>> model = rebuilt(vit(config, num_classes=10), image_size=64, stochastic_depth_rate=0.1)
        >>> model.input_shape, model.output_shape
        ((None, 64, 64, 3), (None, 10))
    """
    check_not_quantized(model, "rebuilt")
    before = config_of(model)
    config = before.replace(**changes)
    classes = num_classes_of(model) if num_classes is None else num_classes or None
    with _policy(dtype_policy or model.get_layer("patch_encoder").dtype_policy.name):
        new = vit(
            config,
            num_classes=classes,
            classifier_activation=_activation_of(model) if classes else None,
            name=model.name,
        )
    variables = {weight.path: weight for weight in new.weights}
    memory = _Memory(model)
    surgery = Surgery(
        head=head_change(num_classes, asdict(before), config), fewer_layers=config.num_layers < before.num_layers
    )
    shapes = {name: tuple(weight.shape) for name, weight in variables.items()}
    for step in plan(shapes, config, memory, source="vit_keras", surgery=surgery, stated=asdict(before)).steps:
        for name, array in step.run([memory.read(source) for source in step.sources]).items():
            if array.shape != shapes[name]:
                raise WeightMismatchError(f"{memory.path}: {name} became {array.shape}, not {shapes[name]}.")
            variables[name].assign(array)
    for weight in model.weights:
        if weight.path in variables:
            variables[weight.path].trainable = weight.trainable
    if classes == num_classes_of(model):
        new.class_names = getattr(model, "class_names", None)
    return new


class _Memory:
    """A model's weights, as the readers of files see a file."""

    def __init__(self, model: keras.Model) -> None:
        # A traced rate is a field of the config, which tells it.
        self._weights = {weight.path: weight for weight in model.weights if weight.name != TRACED_RATE}
        self.path = Path(model.name)
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


def _activation_of(model: keras.Model) -> str | None:
    """Returns what the head ends in, as `vit` takes it."""
    layers = {layer.name: layer for layer in model.layers}
    ends = layers.get("probabilities") or layers.get("head")
    name = "linear" if ends is None else keras.activations.serialize(ends.activation)
    return None if name == "linear" else str(name)


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
