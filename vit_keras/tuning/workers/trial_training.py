"""Trains trials one after another in one process; each resumes where it stopped, and each architecture is compiled once."""

import json
import time
from collections.abc import Callable, Mapping
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
from vit_keras.training.recipes.task_fields import fit_task
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.fitting import Fitting
from vit_keras.training.transfer.outputs import describe_outputs
from vit_keras.training.transfer.target_units import append_units, fold_units, has_units
from vit_keras.tuning.space.searchable import Searchable
from vit_keras.tuning.workers.traced import TracedOptimizer, TracedStochasticDepth, program_key
from vit_keras.zoo.rebuild import rebuild
from vit_keras.zoo.save_preset import save_preset

_CHECKPOINT_SECONDS = 45.0
"""Between two checkpoints, so that a killed worker costs a trial less than a minute."""
_CACHED_PROGRAMS = 8  # the least recently used one is dropped


@dataclass(kw_only=True, eq=False)
class _Program:
    """A compiled model, its initial state, and the variables of its step."""

    model: keras.Model
    optimizer: TracedOptimizer
    depth: TracedStochasticDepth
    initial: dict[str, np.ndarray]


class TrialTrainer:
    """Trains trials of a search.

    Initial weights depend on the seed and the architecture, and the data order on the seed, so trials of one architecture differ
    only in their hyperparameters. The schedule is made for the full horizon, whichever rung a trial trains to. A trial's directory
    holds all its state, so it resumes in another process with the same result, bit for bit.
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
        """Trains or resumes a trial up to the epoch `until`, and returns whether it reached the full horizon.

        `on_epoch` gets the epochs done, and the metrics and seconds of the last one, and returns whether to continue; `on_step` is called
        after each training step. Raises `TrainingDivergedError` if the loss or a weight became NaN or infinite.
        """
        data = self._prepare_data(values)
        run = RunDirectory(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self._is_custom:
            return self._train_custom(values, data, until=until, run=run, reports=_Reports(on_epoch, on_step))
        recipe = self._make_recipe(values, data)
        resume = not CheckpointStore(run.checkpoints).is_empty()
        program = self._get_program(values, data, recipe)
        set_arrays(program.model, program.initial, where="The start of a trial")
        program.optimizer.set(recipe)
        rate = recipe.stochastic_depth_rate
        program.depth.set(self.hypermodel.model_config(values).stochastic_depth_rate if rate is None else rate)
        program.model.stop_training = False
        reports = _Reports(on_epoch, on_step)
        fitting = Fitting(
            model=program.model, data=data, recipe=recipe, run=run, console=Console(quiet=True), callbacks=[reports],
            checkpoint_seconds=_CHECKPOINT_SECONDS,
            pause=lambda epochs: epochs < self.epochs and (epochs >= until or reports.ended),
        )  # fmt: skip
        try:
            fitting.fit(resume=resume)
        except Stopped:
            if reports.epochs < until and not reports.ended:
                raise  # the process was asked to stop
            return False
        save_model(self.hypermodel.finish_model(program.model, values), run, data=data)
        CheckpointStore(run.checkpoints).clear()
        return True

    def _make_recipe(self, values: Mapping[str, Any], data: ImageData) -> Recipe:
        recipe = self.hypermodel.make_recipe(values, epochs=self.epochs, steps_per_epoch=data.steps_per_epoch)
        return fit_task(recipe, data.splits["train"].labels)

    @property
    def _is_custom(self) -> bool:
        """Whether a subclass has its own `build` or `fit`."""
        return self.hypermodel.overrides("build") or self.hypermodel.overrides("fit")

    def _train_custom(
        self, values: Mapping[str, Any], data: ImageData, *, until: int, run: RunDirectory, reports: "_Reports"
    ) -> bool:
        """Trains with the subclass's own `build` and `fit`, from the start, since they may keep state that cannot be resumed."""
        with random_state(self.seed), Interruption() as reports.interruption:
            model, hp = self._build(values)
            results = self.hypermodel.fit(hp, model, data, epochs=until, callbacks=[reports], verbose=0)
        if not reports.epochs:
            metrics = _read_metrics(results, f"{type(self.hypermodel).__name__}.fit")
            for epoch in range(1, until + 1):
                reports.report(epoch, metrics)
        if reports.epochs < self.epochs:
            return False
        save_model(self.hypermodel.finish_model(model, values), run, data=data)
        return True

    def _build(self, values: Mapping[str, Any]) -> tuple[keras.Model, keras_tuner.HyperParameters]:
        hp = keras_tuner.HyperParameters()
        self.hypermodel.declare_hyperparameters(hp)
        hp.values |= values
        model = self.hypermodel.build(hp)
        unknown = sorted(hp.values.keys() - values.keys())
        if unknown:
            raise InvalidArgumentError(
                f"{type(self.hypermodel).__name__}.build uses {', '.join(unknown)}, which the search does not tune: add it to the hypermodel's "
                "space."
            )
        return model, hp

    def logged_metrics(self, values: Mapping[str, Any]) -> set[str] | None:
        """Returns the names of the metrics that training logs, found on one batch; None if a subclass's own `fit` decides."""
        data = self._prepare_data(values)
        if self._is_custom:
            model, _ = self._build(values)
            if self.hypermodel.overrides("fit"):
                return None
        else:
            recipe = self._make_recipe(values, data)
            model = self._get_program(values, data, recipe).model
        names = model.evaluate(data.validation.take(1), verbose=0, return_dict=True)
        return {*names, *(f"val_{name}" for name in names)}

    def _prepare_data(self, values: Mapping[str, Any]) -> ImageData:
        """Returns the images as a trial needs them, with a batch size of at most their number."""
        batch_size = min(int(values.get("batch_size", self.data.batch_size)), len(self.data.splits["train"]))
        return replace(self.hypermodel.prepare_data(values, self.data), batch_size=batch_size, seed=self.seed)

    def _get_program(self, values: Mapping[str, Any], data: ImageData, recipe: Recipe) -> _Program:
        """Returns a compiled model of the values' architecture, cached."""
        shape = self.hypermodel.model_config(values).to_dict()
        key = json.dumps([data.batch_size, program_key(shape, recipe)], sort_keys=True)
        program = self._programs.pop(key, None) or self._compile(values, data, recipe)
        self._programs[key] = program
        while len(self._programs) > _CACHED_PROGRAMS:
            self._programs.pop(next(iter(self._programs)))
        return program

    def _compile(self, values: Mapping[str, Any], data: ImageData, recipe: Recipe) -> _Program:
        with random_state(self.seed):
            model = self.hypermodel.make_model(values, data=data, recipe=recipe)
            if recipe.task == "regression" and not has_units(model):
                model = append_units(model, mean=recipe.target_mean or (), scale=recipe.target_scale or ())
            optimizer, depth = TracedOptimizer(recipe), TracedStochasticDepth(model)
            model.compile(**{**recipe.compile_kwargs(), "optimizer": optimizer.optimizer})
            model.optimizer.build(model.trainable_variables)
            model.evaluate(data.validation.take(1), verbose=0)  # metrics have no variables before the first batch
            return _Program(model=model, optimizer=optimizer, depth=depth, initial=get_arrays(model))


def save_model(model: keras.Model, run: RunDirectory, *, data: ImageData) -> None:
    """Saves a trial's model as a preset directory, or as a `.keras` file if a preset cannot describe it."""
    try:
        plain = rebuild(model)  # with constant rates instead of variables
    except VitKerasError:
        model.save(custom_model_file(run))
    else:
        plain = fold_units(plain)
        describe_outputs(plain, data)
        save_preset(plain, run.model, class_names=data.class_names)


def custom_model_file(run: RunDirectory) -> Path:
    """Returns the path of a model that a preset cannot describe."""
    return run.path / "model.keras"


def _read_metrics(results: Any, where: str) -> dict[str, float]:
    """Returns the metrics of the last epoch from the result of a `fit`."""
    if isinstance(results, keras.callbacks.History):
        results = {name: values[-1] for name, values in results.history.items()}
    if not isinstance(results, Mapping):
        raise InvalidArgumentError(
            f"{where} returned {results!r:.100}: expected the History of `model.fit`, or a dictionary of metrics with the objective."
        )
    return {name: float(value) for name, value in results.items()}


class _Reports(keras.callbacks.Callback):
    """Reports each epoch of a trial, and stops it if the answer says so."""

    def __init__(self, on_epoch: Callable[[int, dict[str, float], float], bool], on_step: Callable[[], object]) -> None:
        super().__init__()
        self.on_epoch, self.on_step = on_epoch, on_step
        self.epochs, self.ended = 0, False
        self.interruption: Interruption | None = None
        self._began = time.monotonic()

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None: ...

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Shows that the trial is alive; stops it on a signal if nothing else does."""
        self.on_step()
        if self.interruption is not None and self.interruption.asked:
            raise Stopped

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reports the epoch, with all time since the last report."""
        self.report(epoch + 1, {name: float(value) for name, value in (logs or {}).items()})
        if self.ended and self.interruption is not None:
            self.model.stop_training = True

    def report(self, epochs: int, metrics: dict[str, float]) -> None:
        now = time.monotonic()
        seconds, self._began, self.epochs = now - self._began, now, epochs
        self.ended = not self.on_epoch(epochs, metrics, seconds)
