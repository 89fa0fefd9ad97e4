"""`model.fit` with checkpoints: a run killed at any moment resumes to the same result."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.distributed.cluster import is_chief
from vit_keras.distributed.devices import devices_in_use
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.errors import StorageError, TrainingDivergedError
from vit_keras.runtime.signals import Interruption
from vit_keras.training.callbacks.divergence import FiniteLoss, NonFiniteError, StepCounter
from vit_keras.training.callbacks.history import EpochHistory
from vit_keras.training.callbacks.progress_bar import ProgressBar
from vit_keras.training.callbacks.waiting import WaitClock
from vit_keras.training.checkpoints.callback import Checkpointing, Stopped, restore
from vit_keras.training.checkpoints.store import Checkpoint, CheckpointStore
from vit_keras.training.recipes.compiling import make_weight_callbacks
from vit_keras.training.recipes.optimization import OptimizationSettings
from vit_keras.training.runs.directory import RunDirectory

CHECKPOINT_SECONDS = 300.0
_NAMED = 10  # image names in an error


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitting:
    """One training of a model, with checkpoints in a run directory."""

    model: keras.Model  # compiled as the recipe says
    data: ImageData
    recipe: OptimizationSettings
    run: RunDirectory  # where checkpoints and metrics are written
    console: Console
    callbacks: Sequence[keras.callbacks.Callback] = ()  # in addition to the recipe's
    checkpoint_seconds: float = CHECKPOINT_SECONDS  # between two checkpoints within an epoch
    weighted: bool = True  # whether the model's losses and metrics respect the weights of images
    pause: Callable[[int], bool] = lambda epochs: False  # given the number of finished epochs; True saves and stops
    waits: WaitClock = field(default_factory=WaitClock, init=False)

    def fit(self, *, resume: bool = False) -> list[dict[str, float]]:
        """Trains to the end, or resumes from the newest checkpoint of the run, and returns a row of metrics per epoch.

        `Stopped`: Ctrl-C, SIGTERM, or a pause, after the step was finished and saved. `TrainingDivergedError`: the loss or a weight became NaN
        or infinite; the model is restored from the last checkpoint.
        """
        store = CheckpointStore(self.run.checkpoints)
        checkpoint = store.newest() if resume else None
        if checkpoint is not None:
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
                self.model.evaluate(self._validation.take(1), verbose=0)  # creates the variables of the metrics
            restore(self.model, checkpoint)
        stopping = "Stopping after this step; once more stops at once."
        with Interruption(lambda: self.console.print(stopping, highlight=False)) as interruption:
            try:
                rows = self._train(store, checkpoint, interruption)
                with share_errors():
                    store.wait()
                return rows
            except NonFiniteError as fault:
                raise self._report_divergence(store, fault) from fault
            except Stopped:
                raise
            except Exception:
                self.data.check_readable()  # a clearer error than TensorFlow's, if a file is unreadable
                raise
            finally:
                store.wait()

    def _train(
        self, store: CheckpointStore, checkpoint: Checkpoint | None, interruption: Interruption
    ) -> list[dict[str, float]]:
        steps, epochs = self.recipe.steps_per_epoch, self.recipe.epochs
        counter, history = StepCounter(), EpochHistory(self.run.metrics, self.waits)
        loss, progress = FiniteLoss(counter), ProgressBar(self.console, counter)
        others = [counter, loss, *make_weight_callbacks(self.recipe), *self.callbacks, history]
        saving = Checkpointing(
            store,
            others,
            counter=counter,
            loss=loss,
            steps_per_epoch=steps,
            interruption=interruption,
            seconds=self.checkpoint_seconds,
            pause=self.pause,
            resumed=checkpoint,
        )
        callback_list = _CallbackList([*others, progress, saving], model=self.model, epochs=epochs, steps=steps)
        step = 0 if checkpoint is None else checkpoint.step
        ended = checkpoint is not None and checkpoint.state["stop_training"]
        try:
            callback_list.begin()
            if step % steps:
                self._fit_part(callback_list, step, epochs=step // steps + 1)
                step, ended = counter.step, self.model.stop_training
            if step < epochs * steps and not ended:
                self._fit_part(callback_list, step, epochs=epochs)
            callback_list.end()
        finally:
            progress.stop()
        history.write()
        return history.rows

    def _fit_part(self, callback_list: "_CallbackList", step: int, *, epochs: int) -> None:
        epoch, done = divmod(step, self.recipe.steps_per_epoch)
        with share_errors():  # images may be decoded to a disk now
            validation = self._validation
            batches = self.data.training_batches(
                epochs=epochs - epoch, augmentation=self.recipe.augmentation, first_epoch=epoch, first_step=done
            )
        self.model.fit(
            self.waits.measure(batches),
            initial_epoch=epoch,
            epochs=epochs,
            steps_per_epoch=self.recipe.steps_per_epoch - done,
            validation_data=validation,
            callbacks=callback_list,
            shuffle=False,  # the batches are already shuffled
            verbose=0,
        )

    @property
    def _validation(self) -> Any:
        devices, count = devices_in_use(), len(self.data.splits["validation"])
        if not devices.needs_full_batches:
            return self.data.validation
        if not self.weighted and count < self.data.batch_size:
            devices.check_batch(max(1, count) if count < devices.count else devices.count, what="held-out images")
            data = replace(self.data, parts=1, batch_size=devices.fit_batch(count))
            return data.full_batches("validation", weighted=False)
        return self.data.full_batches("validation", weighted=self.weighted)

    def _report_divergence(self, store: CheckpointStore, fault: NonFiniteError) -> TrainingDivergedError:
        """Writes `divergence.json`, restores the last checkpoint, and returns the error to raise."""
        epoch, step = divmod(fault.step, self.recipe.steps_per_epoch)
        images = self.data.training_images(fault.step, augmentation=self.recipe.augmentation)
        note = {"epoch": epoch + 1, "step": step + 1, "what": fault.what, "images": images}
        with share_errors():
            try:
                if is_chief():
                    self.run.divergence.write_text(json.dumps(note, indent=2) + "\n", "utf-8")
            except OSError as error:
                raise StorageError(f"{self.run.divergence}: could not be written ({error}).") from error
            store.wait()
        checkpoint = store.newest()
        restored = "nothing had been saved yet"
        if checkpoint is not None:
            restore(self.model, checkpoint)
            restored = f"the model was restored from step {checkpoint.step}, the last that was saved"
        return TrainingDivergedError(
            f"In epoch {epoch + 1}, step {step + 1} of {self.run.path}, {fault.what}; {restored}. The images of the step are "
            f"{', '.join(images[:_NAMED])}{', ...' if len(images) > _NAMED else ''} (all in {self.run.divergence.name}). Check them, "
            "train in float32, or start a new run with a lower learning rate."
        )


class _CallbackList(keras.callbacks.CallbackList):
    """Callbacks that see several calls of `fit` as one training, with logs left on the device, so that no step waits for them."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], *, model: keras.Model, **params: Any) -> None:
        super().__init__(list(callbacks), add_history=True, model=model, **params)  # fit returns that history
        # Checkpoints may not be taken during the next step.
        self._async_train = self._async_test = self._async_predict = False

    def begin(self) -> None:
        super().on_train_begin()

    def end(self) -> None:
        super().on_train_end()

    def on_train_begin(self, logs: Any = None) -> None:
        """Does nothing: called once per `fit`."""

    def on_train_end(self, logs: Any = None) -> None:
        """Does nothing: called once per `fit`."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)
