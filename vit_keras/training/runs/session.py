"""One resumable training run: trains, saves the model, evaluates it, writes the report."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from vit_keras.data import EncodedSplit, ImageData, Preprocessing, Split
from vit_keras.data.tasks import describe_count
from vit_keras.errors import OutOfMemoryError, TrainingDivergedError
from vit_keras.evaluation.evaluate import AnyEvaluation, evaluate
from vit_keras.evaluation.joining import join_evaluations
from vit_keras.reporting import notebook
from vit_keras.runtime.out_of_memory import is_out_of_memory
from vit_keras.runtime.precision import dtype_policy
from vit_keras.runtime.random_state import random_state
from vit_keras.runtime.signals import Aborted
from vit_keras.training.callbacks.history import read_history
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.recipes import Recipe
from vit_keras.training.run_config import write_run_config
from vit_keras.training.runs import figures
from vit_keras.training.runs.directory import RunDirectory, environment
from vit_keras.training.runs.facts import count_noun
from vit_keras.training.runs.fitting import Fitting
from vit_keras.training.runs.lock import RunLock
from vit_keras.training.runs.model_card import model_card_notes
from vit_keras.training.runs.report import write_report
from vit_keras.training.runs.resuming import check_same_run
from vit_keras.training.transfer.lora import merge_lora
from vit_keras.training.transfer.outputs import describe_outputs
from vit_keras.training.transfer.target_units import fold_units
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.save_preset import save_preset, write_card

_MAX_NOTES = 10  # printed


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training; the run in `run_directory` can be resumed."""

    def __init__(self, run_directory: Path) -> None:
        super().__init__(str(run_directory))
        self.run_directory = run_directory


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingResult:
    """The result of a training run.

    Args:
        run_directory: The folder with the model, metrics and report.
        model: The saved model, in float32.
        evaluation: On the test split, or the validation split where there is none; of a cross-validation, on all images.
        record: The contents of `run.json`.
        history: One row of metrics per epoch.
    """

    run_directory: Path
    model: keras.Model = field(repr=False)
    evaluation: AnyEvaluation = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    history: list[dict[str, float]] = field(repr=False)

    def _repr_html_(self) -> str:
        run = RunDirectory(self.run_directory)
        drawn = "".join(notebook.wide_picture(path) for path in sorted(run.figures.glob("*.png")))
        return notebook.title(f"{run.path}: report in {run.report}") + notebook.plain(str(self.evaluation)) + drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """One training run."""

    run: RunDirectory
    data: ImageData
    recipe: Recipe
    record: dict[str, Any]  # of `run.json`: command, options, precision, config, base
    build: Callable[[], keras.Model]  # returns the model to start from; a copy of it is trained
    console: Console
    preprocessing: Preprocessing | None = None  # saved with the model
    measure: Callable[[], dict[str, float]] = dict  # returns more results by name, such as a baseline
    callbacks: tuple[keras.callbacks.Callback, ...] = ()  # in addition to the recipe's
    folds: "tuple[Session, ...]" = ()  # of a cross-validation, whose results replace those of the final model
    tested: Split | EncodedSplit | None = None  # the images that the folds test, one fold after the other
    started: float = field(default_factory=time.monotonic)

    def execute(self, *, resume: bool = False, force: bool = False) -> TrainingResult:
        """Trains, saves, evaluates and reports."""
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
            **({"folds": len(self.folds)} if self.folds else {}),
        }
        if not resume:
            self.run.create()
            self.run.write(record)  # at once, so that a run that is interrupted here can be resumed, too
            if record["options"].get("data") is not None:  # not an object of a Python program
                write_run_config(self.run.path, record["command"], record["options"])
        with RunLock(self.run.path), random_state(self.data.seed):
            if resume:
                previous = self.run.read()
                check_same_run(self.run, previous, record, force=force)
                if previous["status"] == "finished":
                    self.console.print(f"{self.run.path} is already complete", highlight=False)
                    model, evaluation, _ = self._evaluate()
                    return self._result(model, evaluation, previous, self._read_history())
                record["parts"] = previous.get("parts", 1)
            self.run.write(record)
            try:
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

    def _execute(self, record: dict[str, Any], *, resume: bool, force: bool) -> TrainingResult:
        if self.run.model.exists():
            history = self._read_history()
        else:
            model, history = self._train(record, resume=resume)
            self._announce("saving the model")
            if self.recipe.method == "lora":
                model = merge_lora(model)
            model = fold_units(model)
            describe_outputs(model, self.data)
            save_preset(model, self.run.model, class_names=self.data.class_names, preprocessing=self.preprocessing)
            del model
        self._announce("evaluating")
        model, evaluation, fold_results = self._evaluate(force=force)
        evaluated_on = "test" if self.folds else self.data.evaluation_split
        found = {f"{evaluated_on}_{name}": value for name, value in evaluation.summary().items()}
        results = {**found, **fold_results, **self.measure()}
        seconds = {"fit": sum(row["seconds"] for row in history), "total": time.monotonic() - self.started}
        record = {**record, "status": "finished", "evaluated_on": evaluated_on, "results": results, "seconds": seconds}
        self._announce("drawing the report")
        self._write_reports(record, history, evaluation)
        self.run.write(record)
        CheckpointStore(self.run.checkpoints).clear()
        return self._result(model, evaluation, record, history)

    def _train(self, record: dict[str, Any], *, resume: bool) -> tuple[keras.Model, list[dict[str, float]]]:
        """Trains; where a batch does not fit in memory, splits it into 2, 4, ... micro-batches with accumulated gradients."""
        batch_size = self.data.batch_size
        while True:
            parts = record.get("parts", 1)
            recipe = self.recipe.replace(
                steps_per_epoch=self.recipe.steps_per_epoch * parts, accumulation=self.recipe.accumulation * parts
            )
            has_checkpoint = not CheckpointStore(self.run.checkpoints).is_empty()
            model = recipe.prepare(self.build(), self.data, fit_head=not (resume and has_checkpoint))
            model.compile(**recipe.compile_kwargs())
            if not self._trains_by_steps:
                return model, []
            self._announce("compiling the training step")
            try:
                return model, self._fitting(model, recipe, parts).fit(resume=resume)
            except Exception as error:
                if not is_out_of_memory(error) or has_checkpoint:
                    raise
                if batch_size % (2 * parts):
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

    def _announce(self, text: str) -> None:
        """Prints what comes next and takes some seconds."""
        self.console.print(f"{text} ...", highlight=False)

    @property
    def _trains_by_steps(self) -> bool:
        return self.recipe.method != "linear_probe"  # whose head is fitted by `prepare`

    def _fitting(self, model: keras.Model, recipe: Recipe, parts: int) -> Fitting:
        return Fitting(
            model=model,
            data=replace(self.data, parts=parts),
            recipe=recipe,
            run=self.run,
            console=self.console,
            callbacks=self.callbacks,
        )

    def _evaluate(self, *, force: bool = False) -> tuple[keras.Model, AnyEvaluation, dict[str, Any]]:
        """Returns the saved model, its evaluation, or that of the folds of a cross-validation, and their first metric."""
        with dtype_policy("float32"):
            model = from_preset(self.run.model)
        if not self.folds:
            return model, evaluate(model, self.data.splits[self.data.evaluation_split]), {}
        results = [self._execute_fold(fold, force=force) for fold in self.folds]
        evaluations = [result.evaluation for result in results]
        whole = join_evaluations(evaluations)
        metric = next(iter(whole.summary()))
        values = [each.summary()[metric] for each in evaluations]
        tested = {f"test_{name}" for name in whole.summary()}
        measured = {  # such as a baseline
            name: float(np.mean([result.record["results"][name] for result in results]))
            for name in results[0].record["results"]
            if name not in tested
        }
        spread = {f"fold_{metric}_mean": float(np.mean(values)), f"fold_{metric}_std": float(np.std(values, ddof=1))}
        return model, whole, {**spread, f"fold_{metric}_values": values, **measured}

    def _execute_fold(self, fold: "Session", *, force: bool) -> TrainingResult:
        sizes = ", ".join(f"{count:,} {name}" for name, count in fold.data.sizes.items())
        self.console.print(f"{fold.data.name}: {sizes} images", highlight=False)
        is_begun = fold.run.record_file.is_file()
        if not is_begun:  # killed before anything was written
            shutil.rmtree(fold.run.path, ignore_errors=True)
        return replace(fold, started=time.monotonic()).execute(resume=is_begun, force=force)

    def _write_reports(
        self, record: Mapping[str, Any], history: list[dict[str, float]], evaluation: AnyEvaluation
    ) -> None:
        names, run = self.data.class_names, self.run
        split = self.tested if self.tested is not None else self.data.splits[self.data.evaluation_split]
        run.figures.mkdir(exist_ok=True)
        if history:
            figures.draw_learning_curves(run.metrics, run.figures / "learning_curves.png")
        figures.draw_figures(run.figures, split, evaluation, names)
        figures.save_example(split, run.figures / "example.png")
        write_report(run.report, record=record, history=history, evaluation=evaluation, split=split, class_names=names)
        write_card(run.model, notes=model_card_notes(record, evaluation, names))

    def _result(
        self, model: keras.Model, evaluation: AnyEvaluation, record: dict[str, Any], history: list[dict[str, float]]
    ) -> TrainingResult:
        return TrainingResult(
            run_directory=self.run.path, model=model, evaluation=evaluation, record=record, history=history
        )

    def _read_history(self) -> list[dict[str, float]]:
        return read_history(self.run.metrics) if self._trains_by_steps else []

    def print_plan(self, model: str) -> None:
        """Prints the data, the model and the recipe before training."""
        data, recipe = self.data, self.recipe
        counts = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
        lines = [
            f"data     {data.name}: {counts} images, {describe_count(data.task, len(data.class_names))}",
            f"model    {model}",
            f"training {recipe.name}: {count_noun(recipe.epochs, 'epoch')} of {count_noun(recipe.steps_per_epoch, 'step')}, "
            f"{self.record['precision']}, {keras.backend.backend()}",
            f"run      {self.run.path}",
            *(f"read     {decision}" for decision in data.decisions),
            *(f"note     {note}" for note in data.notes[:_MAX_NOTES]),
        ]
        if len(data.notes) > _MAX_NOTES:
            lines.append(f"         and {len(data.notes) - _MAX_NOTES} more, in run.json")
        lines += [f"choice   {choice.what} {choice.value}: {choice.reason}" for choice in recipe.choices]
        for line in lines:
            self.console.print(line, highlight=False)
