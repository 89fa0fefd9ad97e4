"""Random numbers from a seed of ours, with the caller's random state as it was afterwards."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

_OF_KERAS = (GLOBAL_RANDOM_SEED, GLOBAL_SEED_GENERATOR)


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seeds Python, NumPy, Keras and torch inside the block, and puts all of them back as they were.

    `keras.utils.set_random_seed` also seeds `tf.random`, which has no public way back. Keras draws nothing from there.

    Args:
        seed: Decides what is drawn inside the block.
    """
    python, numpy = random.getstate(), np.random.get_state()
    of_keras = {name: global_state.get_global_attribute(name) for name in _OF_KERAS}
    with torch_generators_restored():
        try:
            random.seed(seed)
            np.random.seed(seed)
            global_state.set_global_attribute(GLOBAL_RANDOM_SEED, seed)
            global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)  # Keras makes the next one from Python's
            _seed_torch(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            for name, value in of_keras.items():
                global_state.set_global_attribute(name, value)


def torch_generators_restored() -> AbstractContextManager[Any]:
    """Returns a block after which torch's own generators, from which Keras' dropout draws there, are as they were."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.random.fork_rng(range(torch.cuda.device_count()))


def _seed_torch(seed: int) -> None:
    if keras.backend.backend() == "torch":
        import torch

        torch.manual_seed(seed)
