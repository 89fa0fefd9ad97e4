"""Which cases of a test run on which backend."""

from collections.abc import Iterable

import keras


def some_elsewhere(cases: Iterable, *, every: int) -> list:
    """Returns all cases on TensorFlow, and every so many on JAX and torch, where the same code calls other operations."""
    return list(cases)[:: 1 if keras.backend.backend() == "tensorflow" else every]
