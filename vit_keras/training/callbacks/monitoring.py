"""A number that is watched at the end of each epoch, and which of two is better."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import check_choice

Direction = Literal["auto", "lower", "higher"]
_HIGHER = ("accuracy", "acc", "auc", "precision", "recall", "f1_score", "iou")
_LOWER = ("loss", "error", "crossentropy", "entropy")


class Monitor:
    """Reads one of the numbers that Keras logs an epoch.

    Args:
        name: The number's, such as "val_loss".
        better: "lower", "higher", or "auto" to go by the name.

    Raises:
        InvalidArgumentError: The name does not say which way is better.

    Example:
        >>> Monitor("val_accuracy").is_better(0.5, than=0.4), Monitor("val_loss").is_better(float("nan"), than=None)
        (True, False)
    """

    def __init__(self, name: str, *, better: Direction = "auto") -> None:
        check_choice("Monitor", choices=("auto", "lower", "higher"), better=better)
        if better == "auto":
            if not name.endswith(_HIGHER + _LOWER):
                raise InvalidArgumentError(
                    f'monitor={name!r} does not say which way is better: add better="lower" or better="higher".'
                )
            better = "higher" if name.endswith(_HIGHER) else "lower"
        self.name = name
        self.better = better
        self._met = self._missed = False

    def value(self, logs: Mapping[str, Any] | None) -> float | None:
        """Returns the epoch's number; None for an epoch without validation.

        Args:
            logs: Of the epoch.

        Raises:
            InvalidArgumentError: There is no such number.
        """
        logs = logs or {}
        validated = any(key.startswith("val_") for key in logs)
        if self.name not in logs and (validated or not self.name.startswith("val_")):
            raise InvalidArgumentError(f"There is no {self.name!r} to monitor: the epoch has {sorted(logs)}.")
        if self.name not in logs:
            self._missed = True
            return None
        self._met = True
        return float(logs[self.name])

    def is_better(self, value: float, *, than: float | None) -> bool:
        """Whether a number is better than another, or than none; what is not finite never is, and the first of two equals stays.

        Args:
            value: The new one.
            than: The old one; None for none.
        """
        if not math.isfinite(value):
            return False
        if than is None:
            return True
        return value > than if self.better == "higher" else value < than

    def check_met(self) -> None:
        """Raises `InvalidArgumentError` where there were epochs, and the number was in none."""
        if self._missed and not self._met:
            raise InvalidArgumentError(
                f"No epoch had a {self.name!r} to monitor: give `fit` validation_data, or monitor a number of training."
            )
