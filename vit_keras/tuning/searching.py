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
from vit_keras.data.scan.progress import file_progress
from vit_keras.data.tasks import METRICS
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.reporting import notebook
from vit_keras.reporting.progress import standard_console
from vit_keras.runtime.environment import environment
from vit_keras.runtime.files import atomic_file, write_text
from vit_keras.runtime.tensorflow_threads import prefer_parallel_operations
from vit_keras.training.run_inputs import find_word
from vit_keras.training.runs.directory import RunDirectory, TrainingInterrupted, next_run_directory
from vit_keras.tuning.options import TunerOptions
from vit_keras.tuning.report.page import PAGE, format_leaderboard, write_study_report
from vit_keras.tuning.report.progress import SearchProgress
from vit_keras.tuning.search_options import SearchOptions
from vit_keras.tuning.space.hypermodel import ViTHyperModel
from vit_keras.tuning.space.search_space import SearchSpace
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

    def _repr_html_(self) -> str:
        words = f"{self.run_directory}: best trial {self.best.number}, report in {self.run_directory / PAGE}"
        return notebook.title(words) + format_leaderboard(self.study, self.study.ranking)

    @property
    def model(self) -> keras.Model:
        """The best trial's model, loaded again at each access."""
        return _load_model(self.model_directory)


def search(
    data: Any,
    validation: Any = None,
    *,
    budget: str | Budget = "30min",
    objective: str | Sequence[str] = "auto",
    epochs: int | None = None,
    max_params: int | None = None,
    max_macs: int | None = None,
    space: SearchSpace | Mapping[str, Any] | str | Path | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    task: str = "auto",
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    workers: int | None = None,
    hypermodel: Searchable | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    options: TunerOptions | None = None,
    console: Console | None = None,
) -> SearchResult:
    """Searches depth, heads and other hyperparameters for the best Vision Transformer within a budget.

    Args:
        data: `ImageData`, or what `vk.data.load` takes: a folder, a data set's name, arrays, a `tf.data.Dataset`.
        validation: Likewise; None if `data` has a validation split, otherwise a part of it is held out.
        budget: A time such as "30min", "40 trials", or "200 epochs" of all trials together.
        objective: "auto" for "val_accuracy", or the first metric of another task; "val_loss"; a list of these and of "params", "macs",
            "latency" for a Pareto front.
        epochs: Training epochs of the best trials; None for 8.
        max_params: Maximum number of parameters of a model with its head; None for what so many images can train (on a CPU, in time).
        max_macs: Maximum number of MACs per image.
        space: Dimensions that replace parts of the default space: a `SearchSpace`, a TOML or JSON file, or a mapping.
        image_size: Height and width, px; required for image files.
        limit: Maximum number of images per split.
        seed: Random seed of proposals, weights and splits; None for 0.
        task: As for `vk.data.load`, as the next five are.
        image_dir: Of a table: the folder that relative paths start from.
        image_column: Of a table: the name of the column of image files.
        label_column: Of a table: the name of the column of labels, or several names.
        label_separator: Of a table: what stands between several class names in a cell.
        contained: Of a table: whether files outside its folder are refused.
        workers: Number of trials trained in parallel; None for 1.
        hypermodel: The search space and its limits, in place of `max_params`, `max_macs`, `space` and `image_size`; by default
            `ViTHyperModel` for the images' size and classes.
        run_dir: A directory that does not exist; by default the first free of `runs/search-DATA-1`, `runs/search-DATA-2`, ...
        resume: Resumes the search in `run_dir`; a larger budget continues a finished one.
        options: All options of a tuner, in place of `epochs`, `seed` and `workers`: also rungs, limits of a trial, warm start.
        console: Where progress is shown; stdout by default.

    Raises:
        VitKerasError: An argument was refused before anything was trained.
        NoCompletedTrialError: Every trial failed.
        TrainingInterrupted: Ctrl-C or SIGTERM; the current steps were finished and saved.
    """
    if resume and run_dir is None:
        raise InvalidArgumentError("resume=True needs the run_dir of the search to resume.")
    prefer_parallel_operations()
    console = console or standard_console()
    search_options = SearchOptions(
        data=find_word(data),
        budget=budget if isinstance(budget, str) else None,
        objective=objective,
        epochs=epochs,
        max_params=max_params,
        max_macs=max_macs,
        space=space if isinstance(space, str | os.PathLike) else None,
        image_size=image_size,
        limit=limit,
        seed=seed,
        task=task,
        image_dir=image_dir,
        image_column=image_column,
        label_column=label_column,
        label_separator=label_separator,
        contained=contained,
    )
    chosen = {"epochs": epochs, "workers": workers, "seed": seed}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if options is not None and given:
        raise InvalidArgumentError(f"{', '.join(given)} and options are both given: set them in TunerOptions alone.")
    plan = plan_search(
        data,
        validation,
        options=search_options,
        space=space,
        hypermodel=hypermodel,
        tuner_options=options or TunerOptions(**given),
        console=console,
    )
    is_named = search_options.data is not None and validation is None and space in (None, search_options.space)
    return _search_data(
        plan,
        budget=budget,
        objective=objective,
        run_dir=run_dir,
        resume=resume,
        console=console,
        cli_options=search_options.to_dict() if is_named else {},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchPlan:
    """What is searched: data, search space and the tuner's options."""

    data: ImageData
    hypermodel: Searchable
    tuner_options: TunerOptions


def plan_search(
    data: Any,
    validation: Any = None,
    *,
    options: SearchOptions,
    space: SearchSpace | Mapping[str, Any] | str | Path | None,
    hypermodel: Searchable | None,
    tuner_options: TunerOptions,
    console: Console,
) -> SearchPlan:
    """Loads the data and makes the search space."""
    if hypermodel is not None:
        own = options.limits | {"space": space, "image_size": options.image_size}
        if refused := [name for name, value in own.items() if value is not None]:
            raise InvalidArgumentError(
                f"{', '.join(refused)} has no effect with a hypermodel: pass it to the hypermodel instead."
            )
        images = hypermodel.load_data(data, validation)
        images = images if options.limit is None else images.limit(options.limit)
    else:
        with file_progress(console) as on_progress:
            images = load_images(
                data,
                validation,
                image_size=options.image_size,
                options={
                    **options.load_keywords,
                    "limit": options.limit,
                    "seed": options.seed or 0,
                    "on_progress": on_progress,
                },
            )
        hypermodel = ViTHyperModel.for_data(images, space=space, **options.limits)
    return SearchPlan(data=images, hypermodel=hypermodel, tuner_options=tuner_options)


def _search_data(
    plan: SearchPlan,
    *,
    budget: str | Budget,
    objective: str | Sequence[str],
    run_dir: str | Path | None,
    resume: bool,
    console: Console,
    cli_options: Mapping[str, Any],
) -> SearchResult:
    data = plan.data
    run = Path(run_dir) if run_dir is not None else next_run_directory(data.name, prefix="search-").path
    if not resume and (run / JOURNAL).is_file():
        raise StorageError(
            f"run_dir: {run} holds a search already: choose another directory, or resume it (resume=True, --resume)."
        )
    progress = SearchProgress(console, Budget.parse(budget))
    if objective == "auto":
        objective = f"val_{METRICS[data.task]}"
    tuner = ViTTuner(
        plan.hypermodel,
        run_dir=run,
        budget=budget,
        objective=objective,
        options=plan.tuner_options,
        on_event=progress.on_event,
    )
    tuner.cli_options, tuner.starts_search = cli_options, not resume
    progress.introduce(data, run, tuner.study, limits=str(plan.hypermodel.default_limits))
    run_search(tuner, data, progress)
    return conclude(tuner, data)


def run_search(tuner: ViTTuner, data: ImageData, progress: SearchProgress) -> None:
    """Runs this process's part of a search and leaves a report, however it ends."""
    try:
        with progress.show(tuner.study, tuner.journal):
            tuner.search(data)
    except KeyboardInterrupt:
        if not tuner.journal.records:
            remove_unstarted(tuner.run_dir)
            raise  # there is nothing to resume
        raise TrainingInterrupted(tuner.run_dir) from None
    finally:
        if tuner.study.trials:
            write_study_report(tuner.run_dir, tuner.study, data=data)


def conclude(tuner: ViTTuner, data: ImageData) -> SearchResult:
    """Copies the best trial's model and evaluates it on the test images."""
    best, run, study = tuner.best_trial(), tuner.run_dir, tuner.study
    target = _copy_model(RunDirectory(tuner.trial_directory(best.number)), run)
    metrics = evaluate(_load_model(target), data.splits[data.evaluation_split]).summary()
    first = next(iter(metrics))
    record = {
        "best": {"trial": best.number, "values": best.values, "costs": best.costs, "metrics": best.curve[-1]},
        "front": [trial.number for trial in study.front],
        f"test_{first}": metrics[first],
        "trials": len(study.trials),
        "epochs": study.epochs_trained,
        "seconds": round(study.seconds, 1),
        "workers": [
            {"name": each.name, "host": each.host, "trials": sorted(each.trials), "epochs": each.epochs}
            for each in study.participants.values()
        ],
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
    try:
        unfinished.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(unfinished)  # another process put the same model there just now
    return target


def _load_model(path: Path) -> keras.Model:
    return from_preset(path) if path.is_dir() else keras.saving.load_model(path)
