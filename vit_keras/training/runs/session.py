"""One resumable training run: trains, saves the model, evaluates it, writes the report."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.data import EncodedSplit, Preprocessing, Split
from vit_keras.distributed.arrays import copy_weights
from vit_keras.distributed.cluster import broadcast, is_chief
from vit_keras.distributed.devices import devices_in_use
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.evaluation.evaluate import AnyEvaluation, evaluate
from vit_keras.evaluation.joining import join_evaluations
from vit_keras.reporting import notebook
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.recipes import Recipe
from vit_keras.training.runs import figures
from vit_keras.training.runs.base_session import BaseSession, History
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.model_card import model_card_notes
from vit_keras.training.runs.report import write_report
from vit_keras.training.transfer.lora import merge_lora
from vit_keras.training.transfer.outputs import describe_outputs
from vit_keras.training.transfer.target_units import fold_units
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.save_preset import save_preset, write_card

_EXAMPLE = "example.png"  # an image to try `vit-keras predict` with


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
    history: History = field(repr=False)

    def _repr_html_(self) -> str:
        run = RunDirectory(self.run_directory)
        figures = (path for path in sorted(run.figures.glob("*.png")) if path.name != _EXAMPLE)
        drawn = "".join(map(notebook.wide_picture, figures))
        return notebook.title(f"{run.path}: report in {run.report}") + notebook.plain(str(self.evaluation)) + drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class Session(BaseSession[Recipe, TrainingResult]):
    """One training run."""

    build: Callable[[], keras.Model]  # returns the model to start from; a copy of it is trained
    preprocessing: Preprocessing | None = None  # saved with the model
    measure: Callable[[], dict[str, float]] = dict  # returns more results by name, such as a baseline
    folds: "tuple[Session, ...]" = ()  # of a cross-validation, whose results replace those of the final model
    tested: Split | EncodedSplit | None = None  # the images that the folds test, one fold after the other

    def _execute(self, record: dict[str, Any], *, resume: bool, force: bool) -> TrainingResult:
        if broadcast(self.run.model.exists()):
            history = self._read_history()
        else:
            model, history = self._train(record, resume=resume)
            self._announce("saving the model")
            if self.recipe.method == "lora":
                model = merge_lora(model)
            model = fold_units(model)
            describe_outputs(model, self.data)
            with share_errors():
                if is_chief():
                    save_preset(
                        model, self.run.model, class_names=self.data.class_names, preprocessing=self.preprocessing
                    )
            del model
        self._announce("evaluating")
        model, evaluation, fold_results = self._evaluate(force=force)
        evaluated_on = "test" if self.folds else self.data.evaluation_split
        found = {f"{evaluated_on}_{name}": value for name, value in evaluation.summary().items()}
        results = {**found, **fold_results, **self.measure()}
        record = {
            **record,
            "status": "finished",
            "evaluated_on": evaluated_on,
            "results": results,
            "seconds": self._seconds(history),
        }
        with share_errors():
            if is_chief():
                self._announce("drawing the report")
                self._write_reports(record, history, evaluation)
                self.run.write(record)
                CheckpointStore(self.run.checkpoints).clear()
        return self._result(model, evaluation, record, history)

    def _train(self, record: dict[str, Any], *, resume: bool) -> tuple[keras.Model, History]:
        has_checkpoint = not CheckpointStore(self.run.checkpoints).is_empty()

        def make_model(recipe: Recipe) -> keras.Model:
            model = recipe.prepare(self.build(), self.data, fit_head=not (resume and has_checkpoint))
            how = recipe.compile_kwargs()
            if devices_in_use().needs_full_batches:  # whose last one is filled up with images of weight 0
                how["weighted_metrics"] = how.pop("metrics")
            model.compile(**how)
            return model

        if not self._trains_by_steps:
            return make_model(self.recipe), []
        model, history = self._fit(record, make_model, resume=resume)
        if devices_in_use().needs_full_batches:
            trained = model
            model = self.recipe.prepare(self.build(), self.data, fit_head=False)
            copy_weights(trained, model)
        return model, history

    @property
    def _trains_by_steps(self) -> bool:
        return self.recipe.method != "linear_probe"  # whose head is fitted by `prepare`

    def _reopen(self, record: dict[str, Any]) -> TrainingResult:
        model, evaluation, _ = self._evaluate()
        return self._result(model, evaluation, record, self._read_history())

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
        is_begun = broadcast(fold.run.record_file.is_file())
        if not is_begun and is_chief():  # killed before anything was written
            shutil.rmtree(fold.run.path, ignore_errors=True)
        return replace(fold, started=time.monotonic()).execute(resume=is_begun, force=force)

    def _write_reports(self, record: Mapping[str, Any], history: History, evaluation: AnyEvaluation) -> None:
        names, run = self.data.class_names, self.run
        split = self.tested if self.tested is not None else self.data.splits[self.data.evaluation_split]
        run.figures.mkdir(exist_ok=True)
        if history:
            figures.draw_learning_curves(run.metrics, run.figures / "learning_curves.png")
        figures.draw_figures(run.figures, split, evaluation, names)
        figures.save_example(split, run.figures / _EXAMPLE)
        write_report(run.report, record=record, history=history, evaluation=evaluation, split=split, class_names=names)
        write_card(run.model, notes=model_card_notes(record, evaluation, names))

    def _result(
        self, model: keras.Model, evaluation: AnyEvaluation, record: dict[str, Any], history: History
    ) -> TrainingResult:
        return TrainingResult(
            run_directory=self.run.path, model=model, evaluation=evaluation, record=record, history=history
        )

    def _read_history(self) -> History:
        return super()._read_history() if self._trains_by_steps else []
