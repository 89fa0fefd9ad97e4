"""Measures how long an architecture takes to predict one image on this machine."""

import json
import time
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.models.vit import vit
from vit_keras.tuning.study.journal import Journal

_WARM_UP, _ROUNDS = 3, 20
_TRAINING_ONLY: dict[str, Any] = {
    "dropout_rate": 0.0, "attention_dropout_rate": 0.0, "stochastic_depth_rate": 0.0, "remat": "none",
}  # fmt: skip


class Latencies:
    """Measured latencies, one per architecture; stored in a file so that a resumed search proposes the same."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._journal: Journal | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the file to the process that writes it."""
        return {"_seconds": self._seconds, "_journal": None}

    def store_in(self, journal: Journal) -> None:
        """Reads the latencies of a file, and appends new ones to it from now on."""
        self._seconds |= {record["shape"]: float(record["seconds"]) for record in journal.records}
        self._journal = journal

    def measure(self, config: ViTConfig, *, num_classes: int) -> float:
        """Returns the median seconds of a compiled float32 prediction of one image."""
        config = config.replace(**_TRAINING_ONLY)
        shape = json.dumps([config.to_dict(), num_classes], sort_keys=True)
        if shape not in self._seconds:
            self._seconds[shape] = _time_prediction(config, num_classes)
            if self._journal is not None:
                self._journal.path.parent.mkdir(parents=True, exist_ok=True)
                self._journal.append("latency", shape=shape, seconds=self._seconds[shape])
        return self._seconds[shape]


def _time_prediction(config: ViTConfig, num_classes: int) -> float:
    model = vit(config, num_classes=num_classes)
    image = np.zeros((1, *config.image_shape), "uint8")
    seconds = []
    for _ in range(_WARM_UP + _ROUNDS):
        began = time.perf_counter()
        keras.ops.convert_to_numpy(model.predict_on_batch(image))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[_WARM_UP:]))
