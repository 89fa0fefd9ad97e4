"""The progress bar of a training run."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import keras
from rich.console import Console

from vit_keras.data.tasks import METRICS
from vit_keras.reporting.progress import progress_bar
from vit_keras.training.callbacks.divergence import StepCounter

_KNN = "knn_accuracy"  # of pre-training with labels


class ProgressBar(keras.callbacks.Callback):
    """Shows a bar of the training steps and prints one line per epoch; `counter` must be called before it."""

    def __init__(self, console: Console, counter: StepCounter) -> None:
        super().__init__()
        self.console = console
        self.counter = counter
        self._bar = ExitStack()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the bar."""
        self.total = self.params["steps"] * self.params["epochs"]
        self._update = self._bar.enter_context(progress_bar(self.console, "training"))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves the bar; it reads no metrics, so nothing waits for the device."""
        done = self.counter.step
        self._update(done, self.total, f"{done:,}/{self.total:,} steps")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Prints the epoch's line."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        metric = next((name for name in METRICS.values() if name in values), "loss")
        line = f"epoch {epoch + 1:3d}/{self.params['epochs']}  loss {values['loss']:.3f}  "
        if metric != "loss":  # pre-training has no other metric
            line += f"{metric.replace('_', ' ')} {values[metric]:.3f}  "
        line += f"validation {values[f'val_{metric}']:.3f}"
        if _KNN in values:
            line += f"  kNN accuracy {values[_KNN]:.3f}"
        self.console.print(line, highlight=False)

    def stop(self) -> None:
        """Removes the bar."""
        self._bar.close()
