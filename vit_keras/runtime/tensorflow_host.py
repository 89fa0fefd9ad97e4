"""TensorFlow for data pipelines on the host, on every backend."""

import contextlib
import functools


@functools.cache
def stay_on_host() -> None:
    """Hides the GPUs from TensorFlow where Keras uses another backend, whose memory TensorFlow would take."""
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(RuntimeError):  # too late: TensorFlow uses the GPUs already
            tf.config.set_visible_devices([], "GPU")
