"""What happens at the end of each epoch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vit_keras.weights import read_tensors, write_tensors


class EpochCheckpoint(keras.callbacks.Callback):
    """Writes everything training depends on after each epoch: weights, optimizer and seeds.

    Args:
        path: The file; it is replaced in one step.

    Raises:
        StorageError: It could not be written; the epoch before still is there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the state, and how many epochs it has behind it; a state that diverged replaces none."""
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            return
        state = {
            name: np.asarray(keras.ops.convert_to_numpy(variable)) for name, variable in _state(self.model).items()
        }
        write_tensors({**state, "epochs_done": np.array(epoch + 1)}, self.path)


def restore(model: keras.Model, path: Path) -> int:
    """Puts a compiled model back where `EpochCheckpoint` saw it, and returns how many epochs it has behind it.

    Args:
        model: Built and compiled as the one that was saved.
        path: The checkpoint.

    Raises:
        VitKerasError: The file is not there, damaged, or of another model.
    """
    model.optimizer.build(model.trainable_variables)
    state = _state(model)
    expected = {name: tuple(variable.shape) for name, variable in state.items()}
    tensors = read_tensors(path, {**expected, "epochs_done": ()})
    epochs_done = int(tensors.pop("epochs_done"))
    for name, tensor in tensors.items():
        state[name].assign(tensor)
    return epochs_done


def _state(model: keras.Model) -> dict[str, keras.Variable]:
    """Names every variable by its place and short name: paths repeat, and count the models a process has built."""
    variables = {
        "model": model.trainable_variables + model.non_trainable_variables,
        "optimizer": model.optimizer.variables,
    }
    return {
        f"{owner}/{index:04d}/{item.name}": item
        for owner, items in variables.items()
        for index, item in enumerate(items)
    }


class ProgressBar(keras.callbacks.Callback):
    """Shows a bar of the steps while training, and one line an epoch that stays.

    Args:
        console: Where to; a console that is no terminal gets the lines alone.
        first_epoch: Epochs done before this call of `fit`.
    """

    def __init__(self, console: Console, *, first_epoch: int = 0) -> None:
        super().__init__()
        self.console = console
        self.first_epoch = first_epoch

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
        self.task = self.progress.add_task("training", total=steps * epochs, completed=steps * self.first_epoch)
        self.progress.start()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves the bar; the metrics are left alone, so that nothing waits for them."""
        self.progress.advance(self.task)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Prints the epoch's line."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.console.print(
            f"epoch {epoch + 1:3d}/{self.params['epochs']}  loss {values['loss']:.3f}  accuracy {values['accuracy']:.3f}  "
            f"validation {values['val_accuracy']:.3f}",
            highlight=False,
        )

    def stop(self) -> None:
        """Takes the bar off the screen, however training ended."""
        if hasattr(self, "progress"):
            self.progress.stop()
