"""The progress bar of a training run."""

from collections.abc import Mapping
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vit_keras.data.tasks import METRICS
from vit_keras.training.callbacks.divergence import StepCounter


def standard_console() -> Console:
    """Returns the default console, on stdout."""
    return Console(highlight=False, soft_wrap=True, markup=False)


class ProgressBar(keras.callbacks.Callback):
    """Shows a bar of the training steps (in a terminal only) and prints one line per epoch; `counter` must be called before it."""

    def __init__(self, console: Console, counter: StepCounter) -> None:
        super().__init__()
        self.console = console
        self.counter = counter

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the bar."""
        steps, epochs = self.params["steps"], self.params["epochs"]
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("training", total=steps * epochs, completed=self.counter.step)
        self.progress.start()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves the bar; it reads no metrics, so nothing waits for the device."""
        self.progress.update(self.task, completed=self.counter.step)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Prints the epoch's line."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        metric = next((name for name in METRICS.values() if name in values), METRICS["single_label"])
        self.console.print(
            f"epoch {epoch + 1:3d}/{self.params['epochs']}  loss {values['loss']:.3f}  {metric.replace('_', ' ')} {values[metric]:.3f}  "
            f"validation {values[f'val_{metric}']:.3f}",
            highlight=False,
        )

    def stop(self) -> None:
        """Removes the bar."""
        if hasattr(self, "progress"):
            self.progress.stop()
