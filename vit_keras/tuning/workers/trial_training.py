"""One trial after another in one process: each goes on where it stopped, and is compiled once a shape."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.errors import InvalidArgumentError, VitKerasError
from vit_keras.runtime.random_state import random_state
from vit_keras.runtime.signals import Interruption
from vit_keras.training.checkpoints.callback import Stopped
from vit_keras.training.checkpoints.state import get_arrays, set_arrays
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.recipes import Recipe
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.fitting import Fitting
from vit_keras.tuning.space.searchable import Searchable
from vit_keras.tuning.workers.traced import TracedOptimizer, TracedStochasticDepth, program_of
from vit_keras.zoo.rebuild import rebuild
from vit_keras.zoo.save_preset import save_preset

_KEPT = 8  # compiled programs; the one used longest ago goes


@dataclass(kw_only=True, eq=False)
class _Program:
    """A compiled model, the state it was made in, and what its step takes as inputs."""

    model: keras.Model
    optimizer: TracedOptimizer
    depth: TracedStochasticDepth
    fresh: dict[str, np.ndarray]


class TrialTrainer:
    """Trains trials of a search.

    A trial's weights begin as the seed and its shape say, and its images come in the order that the seed says, so that trials of one
    shape differ in what is tuned alone. It is trained by a schedule made for the full horizon, whatever rung it is told to reach; what
    it depends on is in its folder, so that it goes on in another process to the same bits.

    Args:
        hypermodel: Makes values into models.
        data: What is trained on, and validated with.
        epochs: The full horizon.
        seed: Of weights and order.
    """

    def __init__(self, hypermodel: Searchable, data: ImageData, *, epochs: int, seed: int = 0) -> None:
        self.hypermodel = hypermodel
        self.data = data
        self.epochs = epochs
        self.seed = seed
        self._programs: dict[str, _Program] = {}

    def train(
        self,
        values: Mapping[str, Any],
        *,
        until: int,
        folder: Path,
        on_epoch: Callable[[int, dict[str, float], float], bool],
        on_step: Callable[[], object] = lambda: None,
    ) -> bool:
        """Trains a trial from where it is to the end of an epoch, and returns whether it reached the full horizon.

        Args:
            values: Of the trial.
            until: Epochs it is to have behind it.
            folder: What is the trial's.
            on_epoch: Told the epochs done, the metrics and the seconds of the last one; says whether to go on.
            on_step: Called after each training step.

        Raises:
            TrainingDivergedError: The loss or a weight is no number any more.
            VitKerasError: The values or the folder can't be used.
        """
        data = self._data(values)
        run = RunDirectory(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self._is_own:
            return self._train_own(values, data, until=until, run=run, reports=_Reports(on_epoch, on_step))
        recipe = self.hypermodel.recipe_of(values, epochs=self.epochs, steps_per_epoch=data.steps_per_epoch)
        resume = not CheckpointStore(run.checkpoints).is_empty()
        program = self._program(values, data, recipe)
        set_arrays(program.model, program.fresh, where="The start of a trial")
        program.optimizer.set(recipe)
        program.depth.set(self._stochastic_depth_rate(values, recipe))
        program.model.stop_training = False
        reports = _Reports(on_epoch, on_step)
        fitting = Fitting(
            model=program.model,
            data=data,
            recipe=recipe,
            run=run,
            console=Console(quiet=True),
            callbacks=[reports],
            pause=lambda epochs: epochs < self.epochs and (epochs >= until or reports.ended),
        )
        try:
            fitting.fit(resume=resume)
        except Stopped:
            if reports.epochs < until and not reports.ended:
                raise  # somebody asked the process to stop
            return False
        save_trained(self.hypermodel.finished(program.model, values), run, class_names=data.class_names)
        CheckpointStore(run.checkpoints).clear()
        return True

    @property
    def _is_own(self) -> bool:
        """Whether the hypermodel builds or fits in its own way, of which nothing is known."""
        return self.hypermodel.overrides("build") or self.hypermodel.overrides("fit")

    def _train_own(
        self, values: Mapping[str, Any], data: ImageData, *, until: int, run: RunDirectory, reports: "_Reports"
    ) -> bool:
        """Trains by the hypermodel's own `build` and `fit`, from the start: what they keep between two rungs is not known."""
        with random_state(self.seed), Interruption() as reports.interruption:
            model, hp = self._built(values)
            results = self.hypermodel.fit(hp, model, data, epochs=until, callbacks=[reports], verbose=0)
        if not reports.epochs:
            metrics = _metrics_of(results, f"{type(self.hypermodel).__name__}.fit")
            for epoch in range(1, until + 1):
                reports.report(epoch, metrics)
        if reports.epochs < self.epochs:
            return False
        save_trained(self.hypermodel.finished(model, values), run, class_names=data.class_names)
        return True

    def _built(self, values: Mapping[str, Any]) -> tuple[keras.Model, keras_tuner.HyperParameters]:
        hp = keras_tuner.HyperParameters()
        self.hypermodel.declare_hyperparameters(hp)
        hp.values |= values
        model = self.hypermodel.build(hp)
        unknown = sorted(hp.values.keys() - values.keys())
        if unknown:
            raise InvalidArgumentError(
                f"{type(self.hypermodel).__name__}.build asks for {', '.join(unknown)}, which the search does not tune: add such "
                "dimensions to the hypermodel's space."
            )
        return model, hp

    def logged(self, values: Mapping[str, Any]) -> set[str] | None:
        """Returns the names of the metrics that training logs, found on one batch; None where a hypermodel's own `fit` decides.

        Args:
            values: Of any trial.
        """
        data = self._data(values)
        if self._is_own:
            model, _ = self._built(values)
            if self.hypermodel.overrides("fit"):
                return None
            names = model.evaluate(data.validation.take(1), verbose=0, return_dict=True)
            return {*names, *(f"val_{name}" for name in names)}
        recipe = self.hypermodel.recipe_of(values, epochs=self.epochs, steps_per_epoch=data.steps_per_epoch)
        names = self._program(values, data, recipe).model.evaluate(data.validation.take(1), verbose=0, return_dict=True)
        return {*names, *(f"val_{name}" for name in names)}

    def _data(self, values: Mapping[str, Any]) -> ImageData:
        """Returns the images as a trial takes them, in batches of no more than there are."""
        batch_size = min(int(values.get("batch_size", self.data.batch_size)), len(self.data.splits["train"]))
        return replace(self.hypermodel.data_for(values, self.data), batch_size=batch_size, seed=self.seed)

    def _program(self, values: Mapping[str, Any], data: ImageData, recipe: Recipe) -> _Program:
        """Returns a compiled model of the values' shape, made now or the last time that shape was asked for."""
        shape = self.hypermodel.model_config(values).to_dict()
        key = json.dumps([data.batch_size, program_of(shape, recipe)], sort_keys=True)
        program = self._programs.pop(key, None) or self._compiled(values, data, recipe)
        self._programs[key] = program
        while len(self._programs) > _KEPT:
            self._programs.pop(next(iter(self._programs)))
        return program

    def _stochastic_depth_rate(self, values: Mapping[str, Any], recipe: Recipe) -> float:
        """Returns the recipe's, and the shape's where that says nothing."""
        rate = recipe.stochastic_depth_rate
        return self.hypermodel.model_config(values).stochastic_depth_rate if rate is None else rate

    def _compiled(self, values: Mapping[str, Any], data: ImageData, recipe: Recipe) -> _Program:
        with random_state(self.seed):
            model = self.hypermodel.model_of(values, data=data, recipe=recipe)
            optimizer, depth = TracedOptimizer(recipe), TracedStochasticDepth(model)
            model.compile(**{**recipe.compile_kwargs(), "optimizer": optimizer.optimizer})
            model.optimizer.build(model.trainable_variables)
            model.evaluate(data.validation.take(1), verbose=0)  # metrics have no variables before the first batch
            return _Program(model=model, optimizer=optimizer, depth=depth, fresh=get_arrays(model))


def save_trained(model: keras.Model, run: RunDirectory, *, class_names: Sequence[str]) -> None:
    """Saves a trial's model as a preset directory, and one that is more than `vit` builds as a `.keras` file.

    Args:
        model: Trained.
        run: What is the trial's.
        class_names: What its classes mean.
    """
    try:
        plain = rebuild(model)  # whose rates are numbers
    except VitKerasError:
        model.save(own_model_file(run))
    else:
        save_preset(plain, run.model, class_names=class_names)


def own_model_file(run: RunDirectory) -> Path:
    """Returns where a trial's model is that a hypermodel built in its own way.

    Args:
        run: What is the trial's.
    """
    return run.path / "model.keras"


def _metrics_of(results: Any, where: str) -> dict[str, float]:
    """Returns what a `fit` returned as metrics of its last epoch."""
    if isinstance(results, keras.callbacks.History):
        results = {name: values[-1] for name, values in results.history.items()}
    if not isinstance(results, Mapping):
        raise InvalidArgumentError(
            f"{where} returned {results!r:.100}: expected the History of `model.fit`, or metrics by name, the objective among them."
        )
    return {name: float(value) for name, value in results.items()}


class _Reports(keras.callbacks.Callback):
    """Says how a trial goes, and hears whether it is to go on."""

    def __init__(self, on_epoch: Callable[[int, dict[str, float], float], bool], on_step: Callable[[], object]) -> None:
        super().__init__()
        self.on_epoch, self.on_step = on_epoch, on_step
        self.epochs, self.ended = 0, False
        self.interruption: Interruption | None = None
        self._began = time.monotonic()

    def get_state(self) -> dict[str, Any]:
        """Nothing that a run needs."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing to put back."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Shows that the trial is alive; where nothing else stops it, ends it when that is asked for."""
        self.on_step()
        if self.interruption is not None and self.interruption.asked:
            raise Stopped

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reports the epoch; the seconds are all since the last, validation and compilation with it."""
        self.report(epoch + 1, {name: float(value) for name, value in (logs or {}).items()})
        if self.ended and self.interruption is not None:
            self.model.stop_training = True

    def report(self, epochs: int, metrics: dict[str, float]) -> None:
        """Reports an epoch.

        Args:
            epochs: Done.
            metrics: Of the last.
        """
        now = time.monotonic()
        seconds, self._began, self.epochs = now - self._began, now, epochs
        self.ended = not self.on_epoch(epochs, metrics, seconds)
