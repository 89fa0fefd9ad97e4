"""How long a shape takes to predict one image on this machine, measured once."""

import functools
import time

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.model import vit

_WARM, _ROUNDS = 3, 20


@functools.lru_cache(maxsize=4096)
def latency_of(config: ViTConfig, *, num_classes: int) -> float:
    """Returns the median seconds of a prediction of one image, in float32, compiled, the first ones not counted.

    Args:
        config: The shape; what only training knows, such as dropout, makes no difference.
        num_classes: Classes of the head.
    """
    model = vit(config, num_classes=num_classes)
    image = np.zeros((1, *config.image_size, config.channels), "uint8")
    seconds = []
    for _ in range(_WARM + _ROUNDS):
        began = time.perf_counter()
        keras.ops.convert_to_numpy(model.predict_on_batch(image))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[_WARM:]))
