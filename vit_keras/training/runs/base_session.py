"""What every resumable run does: its record, its lock, what it says when it ends early, and training within the memory there is."""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import keras
from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.distributed.agreement import check_agreement
from vit_keras.distributed.cluster import gather, is_chief, is_lost, process_count
from vit_keras.distributed.devices import devices_in_use, use_devices
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.errors import OutOfMemoryError, TrainingDivergedError
from vit_keras.models.batch_parts import divide_steps
from vit_keras.runtime.environment import environment
from vit_keras.runtime.out_of_memory import is_out_of_memory
from vit_keras.runtime.random_state import random_state
from vit_keras.runtime.signals import Aborted
from vit_keras.training.callbacks.history import read_history
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.recipes.optimization import OptimizationSettings
from vit_keras.training.run_config import write_run_config
from vit_keras.training.runs.directory import ProcessLostError, RunDirectory, TrainingInterrupted
from vit_keras.training.runs.facts import count_noun
from vit_keras.training.runs.fitting import Fitting
from vit_keras.training.runs.lock import RunLock
from vit_keras.training.runs.resuming import check_same_run

_MAX_NOTES = 10  # printed
_AGREED = ("command", "precision", "config", "base", "teacher", "recipe", "data", "folds")
"""What the record of a run must have in common on all processes of a launch."""

Settings = TypeVar("Settings", bound=OptimizationSettings)
Result = TypeVar("Result")
History = list[dict[str, float]]
"""One row of metrics per epoch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseSession(ABC, Generic[Settings, Result]):
    """One resumable run, whatever it trains."""

    run: RunDirectory
    data: ImageData
    recipe: Settings
    record: dict[str, Any]  # of `run.json`: command, options, precision, config, base
    console: Console
    callbacks: tuple[keras.callbacks.Callback, ...] = ()  # in addition to the recipe's
    started: float = field(default_factory=time.monotonic)

    def execute(self, *, resume: bool = False, force: bool = False) -> Result:
        """Trains, saves, evaluates and reports; with `resume`, from where an earlier process was interrupted."""
        record = {
            "status": "running",
            **self.record,
            "recipe": self.recipe.to_dict(),
            "data": {
                "name": self.data.name,
                "task": self.data.task,
                "class_names": list(self.data.class_names),
                "images": self.data.sizes,
                "fingerprint": self.data.fingerprint,
                "decisions": list(self.data.decisions),
                "notes": list(self.data.notes),
            },
            "environment": environment(),
            "seconds": {},
        }
        devices = devices_in_use()
        devices.check_batch(self.data.batch_size)
        record["devices"] = {
            "count": devices.count,
            "processes": devices.process[1],
            "description": devices.describe(),
            "names": list(devices.names),
        }
        check_agreement({key: record[key] for key in _AGREED if key in record})
        with share_errors():
            if not resume and is_chief():
                self.run.create()
                self.run.write(record)  # at once, so that a run that is interrupted here can be resumed, too
                if record["options"].get("data") is not None:  # not an object of a Python program
                    write_run_config(self.run.path, record["command"], record["options"])
        self.run.check_shared()
        with ExitStack() as stack:
            with share_errors():
                if is_chief():
                    stack.enter_context(RunLock(self.run.path))
            stack.enter_context(random_state(self.data.seed))
            if resume:
                previous = self.run.read()
                check_same_run(self.run, previous, record, force=force)
                if previous["status"] == "finished":
                    self.console.print(f"{self.run.path} is already complete", highlight=False)
                    return self._reopen(previous)
                record["parts"] = previous.get("parts", 1)
                # The last digits depend on how steps are divided. Earlier versions did not divide them.
                record["environment"]["parallel_operations"] = previous["environment"].get("parallel_operations", 1)
                if "waiting" in previous:
                    record["waiting"] = previous["waiting"]
            with share_errors():
                self.run.write(record)
            try:
                with divide_steps(record["environment"]["parallel_operations"]):
                    return self._execute(record, resume=resume, force=force)
            except Aborted as abort:
                self.run.write({**record, "status": "interrupted"})
                abort.run_directory = self.run.path
                raise
            except KeyboardInterrupt:
                self.run.write({**record, "status": "interrupted"})
                raise TrainingInterrupted(self.run.path) from None
            except TrainingDivergedError:
                self.run.write({**record, "status": "diverged"})
                raise
            except Exception as error:
                if not is_lost(error):
                    raise
                raise ProcessLostError(self.run.path) from error

    _is_weighted = True
    """Whether the model's losses and metrics respect the weights of images."""

    @abstractmethod
    def _execute(self, record: dict[str, Any], *, resume: bool, force: bool) -> Result:
        """Does the work of a run that is not finished, and writes the record as it is at the end."""

    @abstractmethod
    def _reopen(self, record: dict[str, Any]) -> Result:
        """Returns the result of a run that is finished."""

    def _fit(
        self, record: dict[str, Any], make_model: Callable[[Settings], keras.Model], *, resume: bool
    ) -> tuple[keras.Model, History]:
        """Trains; where a batch does not fit in memory, splits it into 2, 4, ... micro-batches with accumulated gradients.

        `make_model` returns the compiled model to train by a recipe.
        """
        batch_size, devices = self.data.batch_size, devices_in_use()
        has_checkpoint = not CheckpointStore(self.run.checkpoints).is_empty()
        while True:
            parts = record.get("parts", 1)
            recipe = self.recipe.replace(
                steps_per_epoch=self.recipe.steps_per_epoch * parts, accumulation=self.recipe.accumulation * parts
            )
            try:
                with use_devices(devices):
                    model = make_model(recipe)
                    self._announce("compiling the training step")
                    fitting = Fitting(
                        model=model,
                        data=replace(self.data, parts=parts, shard=devices.process),
                        recipe=recipe,
                        run=self.run,
                        console=self.console,
                        callbacks=self._list_callbacks(model),
                        weighted=self._is_weighted,
                    )
                    history = fitting.fit(resume=resume)
                    record["waiting"] = _gather_waits(fitting.waits.seconds())
                with share_errors():
                    self.run.write(record)
                return model, history
            except Exception as error:
                if not is_out_of_memory(error) or has_checkpoint:
                    raise
                if batch_size % (2 * parts * devices.count):
                    raise OutOfMemoryError(
                        f"A training step with {count_noun(batch_size // parts, 'image')} does not fit in memory ({error}), and batches of "
                        f'{batch_size} cannot be split further: use a smaller model or smaller images, remat="block", bfloat16, or a '
                        "method that trains fewer weights, such as lora."
                    ) from error
            record["parts"] = 2 * parts
            self.run.write(record)
            self.console.print(
                f"Not enough memory: training batches of {batch_size} in {record['parts']} parts, with the same result.",
                highlight=False,
            )

    def _list_callbacks(self, model: keras.Model) -> Sequence[keras.callbacks.Callback]:
        """Returns the callbacks of a training in addition to the recipe's."""
        return self.callbacks

    def _announce(self, text: str) -> None:
        """Prints what comes next and takes some seconds."""
        self.console.print(f"{text} ...", highlight=False)

    def _seconds(self, history: History) -> dict[str, float]:
        return {"fit": sum(row["seconds"] for row in history), "total": time.monotonic() - self.started}

    def _read_history(self) -> History:
        return read_history(self.run.metrics)

    def print_plan(self, model: str, *, images: str) -> None:
        """Prints the data, the model and the recipe before training; `images` says what the images are labeled with."""
        data, recipe = self.data, self.recipe
        counts = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
        lines = [
            f"data     {data.name}: {counts} images, {images}",
            f"model    {model}",
            f"training {recipe.name}: {count_noun(recipe.epochs, 'epoch')} of {count_noun(recipe.steps_per_epoch, 'step')}, "
            f"{self.record['precision']}, {keras.backend.backend()}",
            *([f"devices  {devices_in_use().describe()}"] if devices_in_use().count > 1 else []),
            f"run      {self.run.path}",
            *(f"read     {decision}" for decision in data.decisions),
            *(f"note     {note}" for note in data.notes[:_MAX_NOTES]),
        ]
        if len(data.notes) > _MAX_NOTES:
            lines.append(f"         and {len(data.notes) - _MAX_NOTES} more, in run.json")
        lines += [f"choice   {what} {value}: {reason}" for what, value, reason in self.record.get("choices", ())]
        for line in lines:
            self.console.print(line, highlight=False)


def _gather_waits(seconds: dict[str, float]) -> list[dict[str, Any]]:
    """Returns the seconds that each process waited, of several processes with the names of their hosts."""
    return gather({"host": socket.gethostname(), **seconds} if process_count() > 1 else seconds)
