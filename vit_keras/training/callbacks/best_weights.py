"""Restores the weights of the best epoch and stops early."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from vit_keras.layers.base.checks import check_positive
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.monitoring import Direction, Monitor
from vit_keras.training.callbacks.snapshots import restore_snapshot, take_snapshot

_WEIGHTS = "weights/"


class RestoreBestWeights(keras.callbacks.Callback):
    """Restores the weights of the best epoch when training ends, and stops training early.

    Where the metric was finite in no epoch, the model keeps its last weights.

    Args:
        monitor: The metric that ranks the epochs.
        better: Which direction is better: "lower", "higher", or "auto" to infer it from the name.
        patience: Consecutive epochs without improvement after which training stops; None for never.
        average: Its averages are saved in place of the weights, since validation ran with them.

    Raises:
        InvalidArgumentError: An argument is not legal; in `fit`, the metric does not exist.

    Example:
        >>> RestoreBestWeights("val_accuracy", patience=5).better
        'higher'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        better: Direction = "auto",
        patience: int | None = None,
        average: ExponentialMovingAverage | None = None,
    ) -> None:
        super().__init__()
        if patience is not None:
            check_positive("RestoreBestWeights", patience=patience)
        self._monitor = Monitor(monitor, better=better)
        self.patience = patience
        self.average = average
        self.best: float | None = None
        self.epoch: int | None = None
        self.waited = 0
        self.weights: dict[str, np.ndarray] | None = None

    @property
    def better(self) -> str:
        """The direction that is better, "lower" or "higher"."""
        return self._monitor.better

    def get_state(self) -> dict[str, Any]:
        """Returns the best value, its epoch and weights, and the epochs without improvement since."""
        weights = {f"{_WEIGHTS}{name}": np.array(array) for name, array in (self.weights or {}).items()}
        return {"best": self.best, "epoch": self.epoch, "waited": self.waited, **weights}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `get_state` returned."""
        self.best, self.epoch, self.waited = state["best"], state["epoch"], int(state["waited"])
        weights = {
            name.removeprefix(_WEIGHTS): np.array(array) for name, array in state.items() if name.startswith(_WEIGHTS)
        }
        self.weights = weights or None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves the weights of a better epoch; stops training when patience runs out."""
        value = self._monitor.value(logs)
        if value is None:
            return
        if self._monitor.is_better(value, than=self.best):
            self.best, self.epoch, self.waited = value, epoch, 0
            self.weights = take_snapshot(self.model, average=self.average)
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restores the best weights, and resets the average to them, so the order of the two callbacks does not matter."""
        self.waited = 0
        if self.weights is None:
            self._monitor.check_found()
            return
        restore_snapshot(self.model, self.weights)
        if self.average is not None:
            self.average.restart()
