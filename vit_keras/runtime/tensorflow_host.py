"""TensorFlow for data pipelines on the host, on every backend."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def stay_on_host() -> None:
    """Hides the GPUs from TensorFlow where Keras uses another backend, whose memory TensorFlow would take."""
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(RuntimeError):  # too late: TensorFlow uses the GPUs already
            tf.config.set_visible_devices([], "GPU")


def as_operations(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function for `Dataset.map` as made of TensorFlow's operations alone, so that TensorFlow does not rewrite its code first.

    A rewritten `if` may depend on a tensor; to rewrite all functions that are called takes most of the time in which a pipeline is made.
    """
    import tensorflow as tf

    marked: Callable[..., Any] = tf.autograph.experimental.do_not_convert(function)
    return marked
