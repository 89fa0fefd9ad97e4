"""Arrays that several processes hold together, as NumPy arrays of this one."""

import sys
from typing import Any

import keras
import numpy as np

from vit_keras.distributed.cluster import process_count
from vit_keras.distributed.replicas import count_replicas


def to_numpy(value: Any) -> np.ndarray:
    """Returns a variable or tensor as a whole; of one that is spread over processes, every process must ask at the same place."""
    array = value.value if isinstance(value, keras.Variable) else value
    if process_count() > 1 and "jax" in sys.modules:
        import jax

        if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
            from jax.experimental import multihost_utils

            return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    if count_replicas() > 1:  # whose variables are no arrays
        import tensorflow as tf

        array = tf.convert_to_tensor(array)
    return np.asarray(keras.ops.convert_to_numpy(array))


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Sets the weights of a model to those of another with the same layers, wherever the devices of the two are."""
    for ours, theirs in zip(target.weights, source.weights, strict=True):
        ours.assign(to_numpy(theirs))
