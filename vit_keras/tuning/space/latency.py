"""How long a shape takes to predict one image on this machine, measured once."""

import json
import time
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.models.vit import vit
from vit_keras.tuning.study.journal import Journal

_WARM, _ROUNDS = 3, 20
_ONLY_IN_TRAINING: dict[str, Any] = {
    "dropout_rate": 0.0, "attention_dropout_rate": 0.0, "stochastic_depth_rate": 0.0, "remat": "none",
}  # fmt: skip


class Latencies:
    """What was measured, a shape once; kept in a file, a search that goes on finds the same numbers, and so proposes the same."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._journal: Journal | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the file to the process that keeps it."""
        return {"_seconds": self._seconds, "_journal": None}

    def keep_in(self, journal: Journal) -> None:
        """Takes what a file knows, and adds to it from now on.

        Args:
            journal: Its records.
        """
        self._seconds |= {record["shape"]: float(record["seconds"]) for record in journal.records}
        self._journal = journal

    def of(self, config: ViTConfig, *, num_classes: int) -> float:
        """Returns the median seconds of a prediction of one image, in float32, compiled, the first ones not counted.

        Args:
            config: The shape; what only training knows, such as dropout, makes no difference.
            num_classes: Classes of the head.
        """
        config = config.replace(**_ONLY_IN_TRAINING)
        shape = json.dumps([config.to_dict(), num_classes], sort_keys=True)
        if shape not in self._seconds:
            self._seconds[shape] = _measured(config, num_classes)
            if self._journal is not None:
                self._journal.path.parent.mkdir(parents=True, exist_ok=True)
                self._journal.append("latency", shape=shape, seconds=self._seconds[shape])
        return self._seconds[shape]


def _measured(config: ViTConfig, num_classes: int) -> float:
    model = vit(config, num_classes=num_classes)
    image = np.zeros((1, *config.image_size, config.channels), "uint8")
    seconds = []
    for _ in range(_WARM + _ROUNDS):
        began = time.perf_counter()
        keras.ops.convert_to_numpy(model.predict_on_batch(image))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[_WARM:]))
