"""TensorFlow as the host's tool, whatever backend Keras runs on."""

import contextlib
import functools


@functools.cache
def stay_on_host() -> None:
    """Hides the GPUs from TensorFlow where Keras runs on another backend, whose memory it would take otherwise."""
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(RuntimeError):  # somebody has used TensorFlow's GPUs already
            tf.config.set_visible_devices([], "GPU")
