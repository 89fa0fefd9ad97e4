"""TensorFlow without graphs, for tests of what happens around training steps: tracing a model takes seconds, its few steps none."""

import contextlib
import warnings

import keras


@contextlib.contextmanager
def eager_steps():
    """Runs TensorFlow's functions operation by operation inside the block; on other backends nothing changes."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Even though the `tf.config.experimental_run_functions_eagerly`")
            yield
    finally:
        tf.config.run_functions_eagerly(False)
