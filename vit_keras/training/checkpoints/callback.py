"""When a run is saved, and how it goes on from there."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from vit_keras.runtime.signals import Interruption
from vit_keras.training.callbacks.divergence import FiniteLoss, StepCounter, check_weights
from vit_keras.training.checkpoints.state import arrays_of, assign, callbacks_state, set_callbacks_state, variables_of
from vit_keras.training.checkpoints.store import Checkpoint, CheckpointStore

_NUMPYS = ("float32", "float64", "int32", "int64", "uint32")


class Stopped(KeyboardInterrupt):
    """Training ended because it was asked to; its state is on disk."""


class Checkpointing(keras.callbacks.Callback):
    """Saves everything training depends on: after each epoch, every so often within one, and when training is asked to stop.

    The last of the callbacks, whose states it saves with its own.

    Args:
        store: Where to.
        others: All other callbacks, in order.
        counter: One of them.
        loss: One of them.
        steps_per_epoch: Training batches an epoch.
        interruption: Says when to stop.
        seconds: Between two checkpoints within an epoch.
        pause: Told the epochs done, says whether training ends there for now.
        resumed: The checkpoint that training goes on from.
    """

    def __init__(
        self,
        store: CheckpointStore,
        others: Sequence[keras.callbacks.Callback],
        *,
        counter: StepCounter,
        loss: FiniteLoss,
        steps_per_epoch: int,
        interruption: Interruption,
        seconds: float,
        pause: Callable[[int], bool],
        resumed: Checkpoint | None = None,
    ) -> None:
        super().__init__()
        self.store = store
        self.others = others
        self.counter = counter
        self.loss = loss
        self.steps_per_epoch = steps_per_epoch
        self.interruption = interruption
        self.seconds = seconds
        self.pause = pause
        self.resumed = resumed
        self._saved = time.monotonic()
        self._arrays: dict[str, np.ndarray] = {}  # what the last save copied into
        self._gathered: dict[str, np.ndarray] = {}
        self._allocation: threading.Thread | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the callbacks back where they were: they have just been told that training begins."""
        if self.model.optimizer.built:
            self._allocation = threading.Thread(target=self._allocate, name="checkpoint memory")
            self._allocation.start()
        if self.resumed is not None:
            where = str(self.resumed.path)
            set_callbacks_state(self.others, self.resumed.tensors, self.resumed.state["callbacks"], where=where)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the metrics back where they were in the middle of an epoch: they have just been set to zero."""
        if self.resumed is not None and self.counter.step % self.steps_per_epoch:
            restore(self.model, self.resumed)
        self.resumed = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves where it is time to, and ends training where that was asked for; the end of an epoch waits for its validation."""
        if self.counter.step % self.steps_per_epoch == 0:
            return
        asked = self.interruption.asked
        if asked or time.monotonic() - self._saved >= self.seconds:
            self.save(stop=asked)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves, and ends training where that was asked for."""
        self.save(stop=self.interruption.asked or self.pause(epoch + 1))

    def save(self, *, stop: bool = False) -> None:
        """Hands everything over to be written; a state that is not finite replaces none.

        Args:
            stop: Waits until it is on disk, then raises `Stopped`.
        """
        self.loss.check()
        if self._allocation is not None:
            self._allocation.join()
            self._allocation = None
        self.store.wait()  # until the last save's arrays are written
        arrays, step = arrays_of(self.model, into=self._arrays), self.counter.step
        self._arrays = arrays
        check_weights(arrays, step)
        gathered, states = callbacks_state(self.others, into=self._gathered)
        self._gathered = gathered
        state = {"callbacks": states, "stop_training": bool(self.model.stop_training)}
        self.store.save(step, {**arrays, **gathered}, state)
        self._saved = time.monotonic()
        if stop:
            self.store.wait()
            raise Stopped

    def _allocate(self) -> None:
        """Takes the memory of a save beside the first steps: the system is slow to give so much of it."""
        self._arrays = {
            name: np.full(item.shape, 0, keras.backend.standardize_dtype(item.dtype))
            for name, item in variables_of(self.model).items()
            if keras.backend.standardize_dtype(item.dtype) in _NUMPYS
        }


def restore(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Puts a model's variables, its optimizer's and its metrics' back.

    Args:
        model: As `state.variables_of` takes it.
        checkpoint: What is put back.

    Raises:
        ResumeError: The checkpoint is of another model or recipe.
    """
    arrays = {name: array for name, array in checkpoint.tensors.items() if not name.startswith("callback/")}
    assign(model, arrays, where=str(checkpoint.path))
