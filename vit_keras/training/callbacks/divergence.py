"""Notices a loss that is no number, without making the device wait for each."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from vit_keras.weights.store import is_finite


class NonFiniteError(ArithmeticError):
    """A loss or weights that are no number any more.

    Args:
        step: Training step that brought it, counted from 0 at the start of training.
        what: What is not finite, and what it is.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} in step {step}")
        self.step = step
        self.what = what


class StepCounter(keras.callbacks.Callback):
    """Counts the training steps done, those of an earlier process among them; the first callback of all."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Counts one."""
        self.step += 1


class FiniteLoss(keras.callbacks.Callback):
    """Raises `NonFiniteError` one step after the loss stopped being a number.

    Each loss is looked at while the next step runs, so that the host never waits for a device.

    Args:
        counter: Called before it.
    """

    def __init__(self, counter: StepCounter) -> None:
        super().__init__()
        self.counter = counter
        self._loss: Any = None
        self._step = 0

    def get_state(self) -> dict[str, Any]:
        """Returns nothing: the last loss is looked at before a checkpoint is written."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Does nothing."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks at the loss of the step before."""
        self.check()
        self._loss, self._step = (logs or {}).get("loss"), self.counter.step - 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks at the epoch's last loss."""
        self.check()

    def check(self) -> None:
        """Raises `NonFiniteError` where the last loss seen is no number."""
        loss, self._loss = self._loss, None
        if loss is not None and not np.isfinite(float(loss)):
            raise NonFiniteError(self._step, f"the loss became {float(loss)}")


def check_weights(arrays: Mapping[str, np.ndarray], step: int) -> None:
    """Raises `NonFiniteError` where an array of a model's or an optimizer's is not finite.

    Args:
        arrays: By name.
        step: Training steps done.
    """
    for name, array in arrays.items():
        if not name.startswith("metrics/") and not is_finite(array):
            raise NonFiniteError(step - 1, f"{name} holds numbers that are not finite")
