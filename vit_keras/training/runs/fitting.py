"""`model.fit` that can be killed at any moment and go on as if nothing had happened."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.errors import StorageError, TrainingDivergedError
from vit_keras.runtime.signals import Interruption
from vit_keras.training.callbacks.divergence import FiniteLoss, NonFiniteError, StepCounter
from vit_keras.training.callbacks.history import EpochHistory
from vit_keras.training.callbacks.progress_bar import ProgressBar
from vit_keras.training.checkpoints.callback import Checkpointing, Stopped, restore
from vit_keras.training.checkpoints.store import Checkpoint, CheckpointStore
from vit_keras.training.recipes import Recipe
from vit_keras.training.runs.directory import RunDirectory

CHECKPOINT_SECONDS = 300.0
_NAMED = 10  # images of a batch in an error


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitting:
    """One training of a model, in a run directory that keeps its state.

    Args:
        model: Compiled by the recipe.
        data: What it is trained on and validated with.
        recipe: For how long, and how.
        run: Where checkpoints and metrics are kept.
        console: Where progress is shown.
        callbacks: Beside the recipe's own.
        checkpoint_seconds: Between two checkpoints within an epoch.
        pause: Told the epochs done, says whether training ends there for now, saved, to be gone on with later.
    """

    model: keras.Model
    data: ImageData
    recipe: Recipe
    run: RunDirectory
    console: Console
    callbacks: Sequence[keras.callbacks.Callback] = ()
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    pause: Callable[[int], bool] = lambda epochs: False

    def fit(self, *, resume: bool = False) -> list[dict[str, float]]:
        """Trains to the end, from the newest checkpoint where it resumes, and returns a row of metrics an epoch.

        Args:
            resume: Goes on from the run's newest checkpoint.

        Raises:
            Stopped: Ctrl-C, SIGTERM, or a pause; the step was finished and everything saved.
            TrainingDivergedError: The loss or a weight is no number any more; the model is back at the last checkpoint.
            ResumeError: The checkpoint is of another model or recipe.
            CheckpointCorruptError: There are checkpoints, all of them damaged.
            StorageError: A checkpoint can't be written.
        """
        store = CheckpointStore(self.run.checkpoints)
        checkpoint = store.newest() if resume else None
        if checkpoint is not None:
            self._put_back(checkpoint)
        with Interruption(on_first=self._say_stopping) as interruption:
            try:
                return self._trained(store, checkpoint, interruption)
            except NonFiniteError as fault:
                raise self._diverged(store, fault) from fault
            except Stopped:
                raise
            except Exception:
                self.data.check_readable()  # what TensorFlow reports of it is less than it was told
                raise
            finally:
                store.wait()

    def _trained(
        self, store: CheckpointStore, checkpoint: Checkpoint | None, interruption: Interruption
    ) -> list[dict[str, float]]:
        steps, epochs = self.recipe.steps_per_epoch, self.recipe.epochs
        counter, history = StepCounter(), EpochHistory(self.run.metrics)
        loss, progress = FiniteLoss(counter), ProgressBar(self.console, counter)
        others = [counter, loss, *self.recipe.weight_callbacks(), *self.callbacks, history]
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
        parts = _Parts([*others, progress, saving], model=self.model, epochs=epochs, steps=steps)
        step = 0 if checkpoint is None else checkpoint.step
        ended = checkpoint is not None and checkpoint.state["stop_training"]
        try:
            parts.begin()
            if step % steps:
                self._fit_part(parts, step, epochs=step // steps + 1)
                step, ended = counter.step, self.model.stop_training
            if step < epochs * steps and not ended:
                self._fit_part(parts, step, epochs=epochs)
            parts.end()
        finally:
            progress.stop()
        history.write()
        return history.rows

    def _fit_part(self, parts: "_Parts", step: int, *, epochs: int) -> None:
        """Trains from a step on to the end of an epoch."""
        epoch, done = divmod(step, self.recipe.steps_per_epoch)
        batches = self.data.training_batches(
            epochs=epochs - epoch, augmentation=self.recipe.augmentation, first_epoch=epoch, first_step=done
        )
        self.model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epochs,
            steps_per_epoch=self.recipe.steps_per_epoch - done,
            validation_data=self.data.validation,
            callbacks=parts,
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        )

    def _put_back(self, checkpoint: Checkpoint) -> None:
        """Brings a model to the state of a checkpoint."""
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.evaluate(
                self.data.validation.take(1), verbose=0
            )  # metrics have no variables before the first batch
        restore(self.model, checkpoint)

    def _say_stopping(self) -> None:
        self.console.print("Stopping after this step; once more stops at once.", highlight=False)

    def _diverged(self, store: CheckpointStore, fault: NonFiniteError) -> TrainingDivergedError:
        """Goes back to the last checkpoint, notes what happened, and returns the error that says it."""
        epoch, step = divmod(fault.step, self.recipe.steps_per_epoch)
        images = self.data.training_images(fault.step, augmentation=self.recipe.augmentation)
        note = {"epoch": epoch + 1, "step": step + 1, "what": fault.what, "images": images}
        try:
            self.run.divergence.write_text(json.dumps(note, indent=2) + "\n", "utf-8")
        except OSError as error:
            raise StorageError(f"{self.run.divergence}: could not be written ({error}).") from error
        store.wait()
        checkpoint = store.newest()
        back = "nothing had been saved yet"
        if checkpoint is not None:
            restore(self.model, checkpoint)
            back = f"the model is back at step {checkpoint.step}, the last that was saved"
        return TrainingDivergedError(
            f"In epoch {epoch + 1}, step {step + 1} of {self.run.path}, {fault.what}; {back}. Its images are "
            f"{', '.join(images[:_NAMED])}{', ...' if len(images) > _NAMED else ''} (all in {self.run.divergence.name}). Look at them, "
            "train in float32, or start a new run with a lower learning rate."
        )


class _Parts(keras.callbacks.CallbackList):
    """Callbacks to which two calls of `fit` are one, and which get their logs as the backend has them: nothing waits for a number."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], *, model: keras.Model, **params: Any) -> None:
        super().__init__(list(callbacks), add_history=True, model=model, **params)  # fit returns that history
        self._async_train = self._async_test = self._async_predict = (
            False  # what saves may not run beside the next step
        )

    def begin(self) -> None:
        """Tells all that training begins."""
        super().on_train_begin()

    def end(self) -> None:
        """Tells all that training ended."""
        super().on_train_end()

    def on_train_begin(self, logs: Any = None) -> None:
        """Is told of each part, and says nothing."""

    def on_train_end(self, logs: Any = None) -> None:
        """Is told of each part, and says nothing."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Tells all, with nothing to convert."""
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tells all, with the numbers still on the device."""
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)
