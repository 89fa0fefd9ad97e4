"""The weights of the best epoch, and an end to training that no longer helps."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from vit_keras.layers.base.checks import check_positive
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.monitoring import Direction, Monitor
from vit_keras.training.callbacks.snapshots import put_back, snapshot

_WEIGHTS = "weights/"


class RestoreBestWeights(keras.callbacks.Callback):
    """Leaves the model with the weights of its best epoch, and ends training after some epochs without a better one.

    Where no epoch's number was finite, the model keeps the weights it has.

    Args:
        monitor: The number of an epoch that says how good it is.
        better: Which way is better: "lower", "higher", or "auto" to go by the name.
        patience: Epochs in a row without a better one after which training ends; None for never.
        average: Whose averages are kept in place of the weights, because validation saw those.

    Raises:
        InvalidArgumentError: An argument is not legal; in `fit`, that there is no such number.

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
        """Which way is better, "lower" or "higher"."""
        return self._monitor.better

    def get_state(self) -> dict[str, Any]:
        """Returns all that `set_state` needs: the best number, its epoch and weights, and the epochs since."""
        weights = {f"{_WEIGHTS}{name}": np.array(array) for name, array in (self.weights or {}).items()}
        return {"best": self.best, "epoch": self.epoch, "waited": self.waited, **weights}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        self.best, self.epoch, self.waited = state["best"], state["epoch"], int(state["waited"])
        weights = {
            name.removeprefix(_WEIGHTS): np.array(array) for name, array in state.items() if name.startswith(_WEIGHTS)
        }
        self.weights = weights or None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the weights where they are better than any before, and ends training where patience is."""
        value = self._monitor.value(logs)
        if value is None:
            return
        if self._monitor.is_better(value, than=self.best):
            self.best, self.epoch, self.waited = value, epoch, 0
            self.weights = snapshot(self.model, average=self.average)
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the best weights into the model; the average goes along, whichever of the two is called first."""
        self.waited = 0
        if self.weights is not None:
            put_back(self.model, self.weights)
            if self.average is not None:
                self.average.restart()
            return
        self._monitor.check_met()
