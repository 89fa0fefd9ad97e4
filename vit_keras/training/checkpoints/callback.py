"""The callback that saves checkpoints during training and restores the other callbacks on resume."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import keras
import numpy as np

from vit_keras.distributed.cluster import is_chief, process_count
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.distributed.stopping import Action, SharedActions
from vit_keras.runtime.signals import Interruption
from vit_keras.training.callbacks.divergence import FiniteLoss, StepCounter, check_weights
from vit_keras.training.checkpoints.state import (
    get_arrays,
    get_callback_states,
    named_variables,
    set_arrays,
    set_callback_states,
)
from vit_keras.training.checkpoints.store import Checkpoint, CheckpointStore

_NUMPY_DTYPES = ("float32", "float64", "int32", "int64", "uint32")


class Stopped(KeyboardInterrupt):
    """Training was asked to stop and did, after saving its state."""


@dataclass(eq=False)
class Checkpointing(keras.callbacks.Callback):
    """Saves training after each epoch, at intervals, and before a stop; comes last, since it saves the states of the others."""

    store: CheckpointStore
    others: Sequence[keras.callbacks.Callback]  # all other callbacks, in order
    _: KW_ONLY
    counter: StepCounter
    loss: FiniteLoss
    steps_per_epoch: int
    interruption: Interruption
    seconds: float  # between checkpoints within an epoch
    pause: Callable[[int], bool]  # given the number of finished epochs, whether to stop here for now
    resumed: Checkpoint | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self._shared = SharedActions()
        self._saved_at = time.monotonic()
        self._arrays: dict[str, np.ndarray] = {}  # of the last save, whose memory the next one reuses
        self._callback_arrays: dict[str, np.ndarray] = {}
        self._allocation: threading.Thread | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restores the other callbacks, which have just reset themselves in their `on_train_begin`."""
        if self.model.optimizer.built:
            self._allocation = threading.Thread(target=self._allocate, name="checkpoint memory")
            self._allocation.start()
        if self.resumed is not None:
            where = str(self.resumed.path)
            set_callback_states(self.others, self.resumed.tensors, self.resumed.state["callbacks"], where=where)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Restores the metrics in the middle of an epoch, since Keras has just reset them."""
        if self.resumed is not None and self.counter.step % self.steps_per_epoch:
            restore(self.model, self.resumed)
        self.resumed = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves at intervals and when asked to stop; after an epoch's last batch, its validation comes first."""
        if self.counter.step % self.steps_per_epoch == 0:
            return
        action = self._shared.at_step(self.counter.step, self._find_wanted())
        if process_count() > 1:
            self.model.stop_training = action == "end"  # Keras would stop on this process alone
        if action in ("save", "stop"):
            self.save(stop=action == "stop")

    def _find_wanted(self) -> Action | None:
        if self.interruption.asked:
            return "stop"
        if time.monotonic() - self._saved_at >= self.seconds:
            return "save"
        return "end" if process_count() > 1 and self.model.stop_training else None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves, and stops if asked to."""
        wanted: set[Action] = set()
        if self.interruption.asked or self.pause(epoch + 1):
            wanted.add("stop")
        if self.model.stop_training:
            wanted.add("end")
        actions = self._shared.at_epoch_end(wanted)
        self.model.stop_training = "end" in actions
        self.save(stop="stop" in actions)

    def save(self, *, stop: bool = False) -> None:
        """Saves in the background, unless it raises `NonFiniteError`; `stop` waits until it is on disk and raises `Stopped`."""
        self.loss.check()
        if self._allocation is not None:
            self._allocation.join()
            self._allocation = None
        with share_errors():  # such as that of the chief's full disk
            self.store.wait()  # the arrays of the last save are reused
        step = self.counter.step
        self._arrays = get_arrays(self.model, into=self._arrays)
        check_weights(self._arrays, step)
        self._callback_arrays, states = get_callback_states(self.others, into=self._callback_arrays)
        state = {"callbacks": states, "stop_training": bool(self.model.stop_training)}
        if is_chief():
            self.store.save(step, {**self._arrays, **self._callback_arrays}, state)
        self._saved_at = time.monotonic()
        if stop:
            with share_errors():  # the others, too, end after it is on disk
                self.store.wait()
            raise Stopped

    def _allocate(self) -> None:
        """Allocates the memory of a checkpoint during the first steps, since the system is slow to provide it."""
        self._arrays = {
            name: np.full(item.shape, 0, keras.backend.standardize_dtype(item.dtype))
            for name, item in named_variables(self.model).items()
            if keras.backend.standardize_dtype(item.dtype) in _NUMPY_DTYPES
        }


def restore(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Restores the variables of a model, its optimizer and its metrics; `ResumeError` for another model or recipe."""
    arrays = {name: array for name, array in checkpoint.tensors.items() if not name.startswith("callback/")}
    set_arrays(model, arrays, where=str(checkpoint.path))
