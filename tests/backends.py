"""Which cases of a test run on which backend: all on TensorFlow, on JAX and torch one of each kind of operation."""

from collections.abc import Iterable
from typing import Any

import keras


def some_elsewhere(cases: Iterable, *, every: int) -> list:
    """Returns all cases on TensorFlow, and every so many on JAX and torch, where the same code calls other operations."""
    return list(cases)[:: 1 if keras.backend.backend() == "tensorflow" else every]


def only_elsewhere(cases: Iterable, *names: str) -> list:
    """Returns all cases on TensorFlow, and those of these names on JAX and torch, where the same code calls other operations."""
    cases = list(cases)
    if keras.backend.backend() == "tensorflow":
        return cases
    return [cases[cases.index(name)] for name in names]


def forward(model: keras.Model, images: Any) -> Any:
    """Returns a model's outputs; compiled on JAX, which otherwise compiles every operation by itself."""
    if keras.backend.backend() != "jax":
        return model(images, training=False)
    import jax

    @jax.jit
    def call(trainable, others, images):
        return model.stateless_call(trainable, others, images, training=False)[0]

    weights = ([each.value for each in group] for group in (model.trainable_variables, model.non_trainable_variables))
    return call(*weights, images)
