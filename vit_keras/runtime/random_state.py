"""Seeds all random number generators inside a block and restores the caller's state afterwards."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

_KERAS_STATE = (GLOBAL_RANDOM_SEED, GLOBAL_SEED_GENERATOR)


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seeds Python, NumPy, Keras and torch inside the block, and restores all of them afterwards.

    `keras.utils.set_random_seed` also seeds `tf.random`, whose state cannot be restored by a public API. Keras draws nothing from it.
    """
    python, numpy = random.getstate(), np.random.get_state()
    of_keras = {name: global_state.get_global_attribute(name) for name in _KERAS_STATE}
    with _torch_state(seed):
        try:
            random.seed(seed)
            np.random.seed(seed)
            global_state.set_global_attribute(GLOBAL_RANDOM_SEED, seed)
            global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)  # Keras makes the next one from Python's
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            for name, value in of_keras.items():
                global_state.set_global_attribute(name, value)


@contextmanager
def _torch_state(seed: int) -> Iterator[None]:
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
