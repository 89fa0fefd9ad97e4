"""Divides the batch of a step on TensorFlow into parts that are computed at the same time, each on one core.

The operations of a small model are so short that threads which share one wait for each other a third of the time. Operations of different
parts need not wait. Results are those of the whole batch, but for the rounding of sums over it and for other random numbers.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras

from vit_keras.distributed.replicas import count_replicas
from vit_keras.layers.base.checks import Tensor
from vit_keras.runtime.tensorflow_threads import count_parallel_operations

_num_parts: ContextVar[int] = ContextVar("num_parts", default=1)
_num_chosen: ContextVar[int | None] = ContextVar("num_chosen", default=None)

_KERAS_LAYERS = ("Activation", "Dense", "Dropout", "Identity", "LayerNormalization", "Softmax")
"""Keras' layers that compute each image by itself, of those that models of vit_keras end in."""


class Parts:
    """The parts of a tensor along the batch; a leaf for Keras' functions on nested structures."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors


class DividedSteps:
    """The first base class of a Keras model whose steps divide the batch."""

    def train_step(self, *arguments: Any) -> Any:
        """Trains on one batch as Keras does."""
        with _divide_batch(self):
            return super().train_step(*arguments)  # type: ignore[misc]

    def test_step(self, *arguments: Any) -> Any:
        """Evaluates one batch as Keras does."""
        with _divide_batch(self):
            return super().test_step(*arguments)  # type: ignore[misc]

    def predict_step(self, *arguments: Any) -> Any:
        """Predicts one batch as Keras does."""
        with _divide_batch(self):
            return super().predict_step(*arguments)  # type: ignore[misc]


@contextlib.contextmanager
def divide_steps(count: int) -> Iterator[None]:
    """Divides the steps inside the block into so many parts, whatever threads this process has: a resumed run has those it was started with."""
    token = _num_chosen.set(count)
    try:
        yield
    finally:
        _num_chosen.reset(token)


def run_in_parts(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Returns `function(*tensors)`, computed in parts of the batch inside a divided step.

    Args:
        function: Computes each image by itself.
        *tensors: `(batch, ...)`.
    """
    count = _num_parts.get()
    if count == 1:
        return function(*tensors)
    parts = zip(*(_split(tensor, count) for tensor in tensors), strict=True)
    return _join(Parts([function(*part) for part in parts]))


def run_layers_in_parts(
    run: Callable[[list[Tensor], Callable[[Any], Any]], Any], inputs: Any, layer_function: Callable[[Any], Any]
) -> Any:
    """Returns the outputs of a functional model, whose layers get parts of the batch inside a divided step.

    Layers that look at the whole batch, such as batch normalization, or might, get it whole.

    Args:
        run: Runs the model's graph, given its inputs and what to call in place of a layer.
        inputs: The inputs, `(batch, ...)`.
        layer_function: What Keras calls in place of a layer.
    """
    count = _num_parts.get()
    if count == 1:
        return run(inputs, layer_function)

    def on_parts(layer: Any) -> Callable[..., Any]:
        call = layer_function(layer)

        def call_with_parts(*args: Any, **kwargs: Any) -> Any:
            if not _is_per_image(layer):
                args, kwargs = keras.tree.map_structure(_join, (args, kwargs))
                return keras.tree.map_structure(lambda whole: Parts(_split(whole, count)), call(*args, **kwargs))
            outputs = []
            for index in range(count):
                part, named = keras.tree.map_structure(lambda leaf, index=index: _pick(leaf, index), (args, kwargs))
                outputs.append(call(*part, **named))
            return keras.tree.map_structure(lambda *tensors: Parts(list(tensors)), *outputs)

        return call_with_parts

    divided = keras.tree.map_structure(lambda whole: Parts(_split(whole, count)), inputs)
    return keras.tree.map_structure(_join, run(divided, on_parts))


@contextlib.contextmanager
def _divide_batch(model: Any) -> Iterator[None]:
    """Divides what the model computes inside into parts, where TensorFlow would run them side by side."""
    token = _num_parts.set(_count_parts(model))
    try:
        yield
    finally:
        _num_parts.reset(token)


def _count_parts(model: Any) -> int:
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    if tf.executing_eagerly() or model.jit_compile or count_replicas() > 1:
        return 1
    return _num_chosen.get() or count_parallel_operations()


def _is_per_image(layer: Any) -> bool:
    """Whether a layer is known to compute each image by itself."""
    name, module = type(layer).__name__, type(layer).__module__
    if isinstance(layer, keras.Model):  # divides its own layers
        return False
    if module.startswith("vit_keras."):
        return not any(isinstance(part, keras.layers.BatchNormalization) for part in layer._flatten_layers())
    return module.startswith("keras.") and name in _KERAS_LAYERS and layer.activity_regularizer is None


def _split(tensor: Tensor, count: int) -> list[Tensor]:
    """Returns parts that differ in size by one image at most; a number, which an own layer may return, belongs to each."""
    import tensorflow as tf

    if tensor.shape.rank == 0:
        return [tensor] * count
    rows = tensor.shape[0] if tensor.shape[0] is not None else tf.shape(tensor)[0]
    ends = [rows * index // count for index in range(count + 1)]
    parts: list[Tensor] = tf.split(tensor, [end - start for start, end in itertools.pairwise(ends)], num=count)
    return parts


def _join(leaf: Any) -> Any:
    import tensorflow as tf

    if not isinstance(leaf, Parts):
        return leaf
    return leaf.tensors[0] if leaf.tensors[0].shape.rank == 0 else tf.concat(leaf.tensors, axis=0)


def _pick(leaf: Any, index: int) -> Any:
    return leaf.tensors[index] if isinstance(leaf, Parts) else leaf
