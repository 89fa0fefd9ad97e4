"""A metric that is monitored at the end of each epoch."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import check_choice
from vit_keras.validation import list_words

Direction = Literal["auto", "lower", "higher"]
_HIGHER = ("accuracy", "acc", "auc", "precision", "recall", "f1_score", "iou", "r2")
_LOWER = ("loss", "error", "crossentropy", "entropy")


class Monitor:
    """Reads a metric from Keras' logs and compares its values; "auto" infers from its name which direction is better."""

    def __init__(self, name: str, *, better: Direction = "auto") -> None:
        check_choice("Monitor", choices=("auto", "lower", "higher"), better=better)
        if better == "auto":
            if not name.endswith(_HIGHER + _LOWER):
                raise InvalidArgumentError(
                    f'monitor={name!r} does not tell which way is better: add better="lower" or better="higher".'
                )
            better = "higher" if name.endswith(_HIGHER) else "lower"
        self.name = name
        self.better = better
        self._found = self._missed = False

    def value(self, logs: Mapping[str, Any] | None) -> float | None:
        """Returns the metric's value, None for an epoch without validation, or raises `InvalidArgumentError`."""
        logs = logs or {}
        if self.name in logs:
            self._found = True
            return float(logs[self.name])
        if not self.name.startswith("val_") or any(key.startswith("val_") for key in logs):
            raise InvalidArgumentError(
                f"There is no metric {self.name!r} to monitor: the epoch has {list_words(sorted(logs))}."
            )
        self._missed = True
        return None

    def is_better(self, value: float, *, than: float | None) -> bool:
        """True if `value` is finite and strictly better than the best so far, if there is one."""
        if not math.isfinite(value):
            return False
        return than is None or (value > than if self.better == "higher" else value < than)

    def check_found(self) -> None:
        """Raises `InvalidArgumentError` if there were epochs and none of them had the metric."""
        if self._missed and not self._found:
            raise InvalidArgumentError(
                f"No epoch had the metric {self.name!r} to monitor: give `fit` validation_data, or monitor a training metric."
            )
