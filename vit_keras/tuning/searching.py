"""A search from its data to its best model, as one call."""

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
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.training.callbacks.progress_bar import standard_console
from vit_keras.training.runs.directory import RunDirectory, environment, next_run_directory
from vit_keras.training.runs.session import TrainingInterrupted
from vit_keras.tuning.report.page import write_study_report
from vit_keras.tuning.report.progress import SearchProgress
from vit_keras.tuning.space.hypermodel import ViTHyperModel
from vit_keras.tuning.space.searchable import Searchable, load
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study.study import Study, Trial
from vit_keras.tuning.tuner import JOURNAL, TunerOptions, ViTTuner
from vit_keras.tuning.workers.trial_training import own_model_file
from vit_keras.zoo.from_preset import from_preset


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """What came of a search.

    Args:
        run_directory: Where everything is; `study.html` is the page to look at.
        model_directory: The best trial's model, a preset directory; a `.keras` file where a hypermodel's own `build` made more than a
            preset can hold.
        best: The best trial.
        study: All trials.
        test_accuracy: Of the best model, on images that the search never saw.
        record: What `search.json` holds.
    """

    run_directory: Path
    model_directory: Path
    best: Trial
    study: Study
    test_accuracy: float
    record: dict[str, Any]

    @property
    def model(self) -> keras.Model:
        """The best trial's model, loaded anew."""
        return _loaded(self.model_directory)


def search(
    train: Any,
    validation: Any = None,
    *,
    budget: str | Budget = "30min",
    objective: str | Sequence[str] = "val_accuracy",
    max_params: int | None = None,
    hypermodel: Searchable | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    options: TunerOptions | None = None,
    console: Console | None = None,
    told: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Searches depth, heads and the rest for the best Vision Transformer within a budget.

    Args:
        train: `ImageData`, or what `vk.data.load` takes: a folder, a data set's name, arrays, a `tf.data.Dataset`.
        validation: Likewise; None where `train` has a validation split, else a part of it is held out.
        budget: A time such as "30min", "40 trials", or "200 epochs" of all trials together.
        objective: "val_accuracy", "val_loss"; a list of these and of "params", "macs", "latency" for a Pareto front.
        max_params: Most parameters of a model, the head among them; nothing larger is built.
        hypermodel: The space; by default `ViTHyperModel` for the images' size and classes, under `max_params`.
        run_dir: A folder that does not exist; by default the first free `runs/search-NAME-1`, `runs/search-NAME-2`, ... in the current
            directory, with the name of the data.
        resume: Goes on with the search in `run_dir`; a larger budget continues a finished one.
        options: Horizon, rungs, workers, seed, limits.
        console: Where progress is shown; stdout by default.
        told: What a command line was told, kept in the journal.

    Raises:
        VitKerasError: Something was refused before anything was trained.
        NoCompletedTrialError: Every trial failed.
        TrainingInterrupted: Ctrl-C or SIGTERM; the steps were finished and saved.
    """
    console = console or standard_console()
    options = options or TunerOptions()
    if resume and run_dir is None:
        raise InvalidArgumentError("To resume, say which search: give its run_dir.")
    if hypermodel is not None and max_params is not None:
        raise InvalidArgumentError("max_params is the default hypermodel's: give it to the hypermodel, as max_params=.")
    if hypermodel is None:
        data = load(train, validation)
        hypermodel = ViTHyperModel(
            data.image_shape[:2], len(data.class_names), channels=data.image_shape[2], max_params=max_params
        )
    else:
        data = hypermodel.data_of(train, validation)
    run = Path(run_dir) if run_dir is not None else next_run_directory(data.name, prefix="search-").path
    if not resume and (run / JOURNAL).is_file():
        raise StorageError(
            f"{run} has a search in it already: choose another run directory, or go on with it (resume=True, --resume)."
        )
    progress = SearchProgress(console, Budget.of(budget))
    tuner = ViTTuner(
        hypermodel,
        run_dir=run,
        budget=budget,
        objective=objective,
        options=options,
        on_event=progress.on_event,
        told=told,
    )
    progress.introduce(data, run, tuner.study)
    try:
        with progress.showing(tuner.study, tuner.journal):
            tuner.search(data)
    except KeyboardInterrupt:
        raise TrainingInterrupted(run) from None
    finally:
        if tuner.study.trials:
            write_study_report(run, tuner.study, data=data)
    return _concluded(tuner, data)


def _concluded(tuner: ViTTuner, data: ImageData) -> SearchResult:
    """Leaves the best trial's model, and says how good it is on images that the search never saw."""
    best, run = tuner.best(), tuner.run_dir
    target = _copied(RunDirectory(tuner.folder(best.number)), run)
    accuracy = evaluate(_loaded(target), data.splits["test"]).accuracy
    record = {
        "best": {"trial": best.number, "values": best.values, "costs": best.costs, "metrics": best.curve[-1]},
        "front": [trial.number for trial in tuner.study.front()],
        "test_accuracy": accuracy,
        "trials": len(tuner.study.trials),
        "epochs": tuner.study.epochs_trained,
        "seconds": round(tuner.study.seconds, 1),
        "environment": environment(),
    }
    (run / "search.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    write_study_report(run, tuner.study, data=data, test_accuracy=accuracy)
    return SearchResult(
        run_directory=run,
        model_directory=target,
        best=best,
        study=tuner.study,
        test_accuracy=accuracy,
        record=record,
    )


def _copied(trial: RunDirectory, run: Path) -> Path:
    """Puts a copy of a trial's model in place of an earlier best's, which its trial still has, and returns where it is."""
    own = own_model_file(trial)
    if own.is_file():
        return Path(shutil.copy(own, run / own.name))
    target, unfinished = run / trial.model.name, run / f".model.{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(trial.model, unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    return target


def _loaded(path: Path) -> keras.Model:
    return from_preset(path) if path.is_dir() else keras.saving.load_model(path)


def join(data: ImageData, hypermodel: Searchable, *, run_dir: str | Path, options: TunerOptions) -> None:
    """Trains for a chief on another machine, or in another process, until its search is over.

    Args:
        data: What the chief searches with, too.
        hypermodel: Likewise.
        run_dir: Likewise; a folder that all can write.
        options: Likewise; the number of workers is this machine's.

    Raises:
        StorageError: There is no chief at the address, or no more.
        TrainingInterrupted: Ctrl-C or SIGTERM; the steps were finished and saved.
    """
    try:
        ViTTuner(hypermodel, run_dir=run_dir, options=options).search(data)
    except KeyboardInterrupt:
        raise TrainingInterrupted(Path(run_dir)) from None
