"""`search`: one call from data to the best model."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.data.tasks import METRICS
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.runtime.files import atomic_file, write_text
from vit_keras.training.callbacks.progress_bar import standard_console
from vit_keras.training.runs.directory import RunDirectory, environment, next_run_directory
from vit_keras.training.runs.session import TrainingInterrupted
from vit_keras.tuning.options import TunerOptions
from vit_keras.tuning.report.page import write_study_report
from vit_keras.tuning.report.progress import SearchProgress
from vit_keras.tuning.space.hypermodel import ViTHyperModel
from vit_keras.tuning.space.searchable import Searchable, load_images
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study.run_directory import JOURNAL, remove_unstarted
from vit_keras.tuning.study.study import Study, Trial
from vit_keras.tuning.tuner import ViTTuner
from vit_keras.tuning.workers.trial_training import custom_model_file
from vit_keras.zoo.from_preset import from_preset


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """The result of a search.

    Args:
        run_directory: All files of the search; `study.html` is its report.
        model_directory: The best trial's model, a preset directory; a `.keras` file if a hypermodel's own `build` made a model that a
            preset cannot describe.
        best: The best trial.
        study: All trials.
        test_metrics: Metrics of the best model on the test images, which the search did not use, by name: "accuracy", or those of the task.
        record: Content of `search.json`.
    """

    run_directory: Path
    model_directory: Path
    best: Trial
    study: Study
    test_metrics: dict[str, float]
    record: dict[str, Any]

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy on the test images; None where the labels are several classes per image, or numbers."""
        return self.test_metrics.get("accuracy")

    @property
    def model(self) -> keras.Model:
        """The best trial's model, loaded again at each access."""
        return _load_model(self.model_directory)


def search(
    train: Any,
    validation: Any = None,
    *,
    budget: str | Budget = "30min",
    objective: str | Sequence[str] = "auto",
    max_params: int | None = None,
    hypermodel: Searchable | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    options: TunerOptions | None = None,
    console: Console | None = None,
) -> SearchResult:
    """Searches depth, heads and other hyperparameters for the best Vision Transformer within a budget.

    Args:
        train: `ImageData`, or what `vk.data.load` takes: a folder, a data set's name, arrays, a `tf.data.Dataset`.
        validation: Likewise; None if `train` has a validation split, otherwise a part of it is held out.
        budget: A time such as "30min", "40 trials", or "200 epochs" of all trials together.
        objective: "auto" for "val_accuracy", or the first metric of another task; "val_loss"; a list of these and of "params", "macs",
            "latency" for a Pareto front.
        max_params: Maximum number of parameters of a model with its head; no larger model is built.
        hypermodel: The search space; by default `ViTHyperModel` for the images' size and classes, with `max_params`.
        run_dir: A directory that does not exist; by default the first free of `runs/search-DATA-1`, `runs/search-DATA-2`, ...
        resume: Resumes the search in `run_dir`; a larger budget continues a finished one.
        options: Epochs per trial, rungs, workers, seed, limits.
        console: Where progress is shown; stdout by default.

    Raises:
        VitKerasError: An argument was refused before anything was trained.
        NoCompletedTrialError: Every trial failed.
        TrainingInterrupted: Ctrl-C or SIGTERM; the current steps were finished and saved.
    """
    if resume and run_dir is None:
        raise InvalidArgumentError("resume=True needs the run_dir of the search to resume.")
    if hypermodel is not None and max_params is not None:
        raise InvalidArgumentError("max_params has no effect with a hypermodel: pass it to the hypermodel instead.")
    if hypermodel is None:
        data = load_images(train, validation)
        *size, channels = data.image_shape
        hypermodel = ViTHyperModel((size[0], size[1]), len(data.class_names), channels=channels, max_params=max_params)
    else:
        data = hypermodel.load_data(train, validation)
    return search_data(
        data, hypermodel, budget=budget, objective=objective, run_dir=run_dir, resume=resume, options=options, console=console,
    )  # fmt: skip


def search_data(
    data: ImageData,
    hypermodel: Searchable,
    *,
    budget: str | Budget = "30min",
    objective: str | Sequence[str] = "auto",
    run_dir: str | Path | None,
    resume: bool,
    options: TunerOptions | None = None,
    console: Console | None = None,
    cli_options: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Searches as `search` does, with data and hypermodel given."""
    run = Path(run_dir) if run_dir is not None else next_run_directory(data.name, prefix="search-").path
    if not resume and (run / JOURNAL).is_file():
        raise StorageError(
            f"run_dir: {run} holds a search already: choose another directory, or resume it (resume=True, --resume)."
        )
    progress = SearchProgress(console or standard_console(), Budget.parse(budget))
    if objective == "auto":
        objective = f"val_{METRICS[data.task]}"
    tuner = ViTTuner(
        hypermodel, run_dir=run, budget=budget, objective=objective, options=options, on_event=progress.on_event
    )
    tuner.cli_options = cli_options or {}
    progress.introduce(data, run, tuner.study)
    try:
        with progress.show(tuner.study, tuner.journal):
            tuner.search(data)
    except KeyboardInterrupt:
        if not tuner.journal.records:
            remove_unstarted(run)
            raise  # there is nothing to resume
        raise TrainingInterrupted(run) from None
    finally:
        if tuner.study.trials:
            write_study_report(run, tuner.study, data=data)
    return _conclude(tuner, data)


def _conclude(tuner: ViTTuner, data: ImageData) -> SearchResult:
    """Copies the best trial's model and evaluates it on the test images."""
    best, run, study = tuner.best_trial(), tuner.run_dir, tuner.study
    target = _copy_model(RunDirectory(tuner.trial_directory(best.number)), run)
    metrics = evaluate(_load_model(target), data.splits["test"]).summary()
    first = next(iter(metrics))
    record = {
        "best": {"trial": best.number, "values": best.values, "costs": best.costs, "metrics": best.curve[-1]},
        "front": [trial.number for trial in study.front],
        f"test_{first}": metrics[first],
        "trials": len(study.trials),
        "epochs": study.epochs_trained,
        "seconds": round(study.seconds, 1),
        "environment": environment(),
    }
    write_text(run / "search.json", json.dumps(record, indent=2) + "\n")
    write_study_report(run, study, data=data, test_metrics=metrics)
    return SearchResult(
        run_directory=run, model_directory=target, best=best, study=study, test_metrics=metrics, record=record
    )


def _copy_model(trial: RunDirectory, run: Path) -> Path:
    """Copies a trial's model to the run directory, in place of an earlier best model, which its trial still has."""
    custom, target = custom_model_file(trial), run / trial.model.name
    if custom.is_file():
        with atomic_file(run / custom.name) as unfinished:
            shutil.copy(custom, unfinished)
        return run / custom.name
    unfinished = run / f".model.{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(trial.model, unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    return target


def _load_model(path: Path) -> keras.Model:
    return from_preset(path) if path.is_dir() else keras.saving.load_model(path)


def join(data: ImageData, hypermodel: Searchable, *, run_dir: str | Path, options: TunerOptions) -> None:
    """Trains trials for a chief on another machine, or in another process, until its search is over.

    Data, hypermodel, options and run directory, which every machine can write to, are the chief's; `workers` is that of this machine.
    Raises `StorageError` if there is no chief at the address, or it has ended, and `TrainingInterrupted` after Ctrl-C or SIGTERM, when
    the current steps were finished and saved.
    """
    try:
        ViTTuner(hypermodel, run_dir=run_dir, options=options).search(data)
    except KeyboardInterrupt:
        raise TrainingInterrupted(Path(run_dir)) from None
