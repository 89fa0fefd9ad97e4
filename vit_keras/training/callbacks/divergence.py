"""Detects a loss that became NaN or infinite, without waiting for the device at each step."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from vit_keras.weights.store import is_finite


class NonFiniteError(ArithmeticError):
    """The loss or a weight became NaN or infinite, as `what` says."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} in step {step}")
        self.step = step  # counted from 0 at the start of training
        self.what = what


class StepCounter(keras.callbacks.Callback):
    """Counts training steps, including those before a resume; the first of all callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Counts one step."""
        self.step += 1


class FiniteLoss(keras.callbacks.Callback):
    """Raises `NonFiniteError` for a loss while the next step runs, so that no step waits for the device; `counter` comes before it."""

    def __init__(self, counter: StepCounter) -> None:
        super().__init__()
        self.counter = counter
        self._loss: Any = None
        self._step = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Checks the loss of the previous step."""
        self.check()
        self._loss, self._step = (logs or {}).get("loss"), self.counter.step - 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Checks the epoch's last loss."""
        self.check()

    def check(self) -> None:
        """Raises `NonFiniteError` if the last loss is not finite."""
        loss, self._loss = self._loss, None
        if loss is not None and not np.isfinite(float(loss)):
            raise NonFiniteError(self._step, f"the loss became {float(loss)}")


def check_weights(arrays: Mapping[str, np.ndarray], step: int) -> None:
    """Raises `NonFiniteError` if an array of the model or the optimizer is not finite after `step` training steps."""
    for name, array in arrays.items():
        if not name.startswith("metrics/") and not is_finite(array):
            raise NonFiniteError(step - 1, f"{name} has values that are NaN or infinite")
