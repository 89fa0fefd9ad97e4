"""A data set, a preset and a recipe become a trained model and everything one wants to know of it."""

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from vit_keras import data as data_sources
from vit_keras.data import ImageData, Resizing
from vit_keras.data.progress import file_progress
from vit_keras.data.sources import KERAS_NAMES
from vit_keras.errors import CorruptFileError, InvalidArgumentError, ResumeError, TrainingDivergedError
from vit_keras.presets import Preset, load_preset
from vit_keras.training import figures
from vit_keras.training.callbacks import EpochCheckpoint, ProgressBar, restore
from vit_keras.training.evaluation import Evaluation, evaluate, nearest_neighbour_accuracy
from vit_keras.training.precision import dtype_policy, resolve
from vit_keras.training.recipes import RECIPES, Recipe
from vit_keras.training.run_directory import RunDirectory, environment, next_run_directory
from vit_keras.zoo import from_preset, save_preset

_NOTES_SHOWN = 10


def default_preset(data: str) -> str:
    """Returns the preset that trains in minutes on two cores: at 32 px for the small sets, at 96 px for a user's own.

    Args:
        data: What `vk.data.load` takes.
    """
    return "vit_nano_conv8_32" if data in ("emoji", *KERAS_NAMES) else "vit_nano_conv8_96"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What to train, on what, and for how long.

    Args:
        data: What `vk.data.load` takes: "emoji", a data set's name, or a folder.
        preset: A name of `list_presets()`; by default `default_preset(data)`.
        epochs: Passes over the training images.
        batch_size: Images a step.
        limit: Most images of each split; None for all.
        seed: Decides weights, order, augmentation and what is held out.
        precision: "auto", "float32", "mixed_bfloat16" or "mixed_float16".
    """

    data: str = "emoji"
    preset: str = ""
    epochs: int = 50
    batch_size: int = 128
    limit: int | None = None
    seed: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", str(self.data))
        if not self.preset:
            object.__setattr__(self, "preset", default_preset(self.data))
        wrong = [
            f"{name}={getattr(self, name)!r} is not a positive whole number"
            for name in ("epochs", "batch_size", "limit")
            if not (name == "limit" and self.limit is None)
            and (type(getattr(self, name)) is not int or getattr(self, name) < 1)
        ]
        if type(self.seed) is not int or not 0 <= self.seed < 2**31:
            wrong.append(f"seed={self.seed!r} is not a whole number from 0 to {2**31 - 1}")
        try:
            load_preset(self.preset)
        except InvalidArgumentError as error:
            wrong.append(str(error).rstrip("."))
        try:
            resolve(self.precision)
        except InvalidArgumentError as error:
            wrong.append(str(error).rstrip("."))
        if wrong:
            raise InvalidArgumentError("This can't be trained: " + "; ".join(wrong) + ".")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingResult:
    """What came of a training run.

    Args:
        run_directory: Where everything is.
        model: The model as it was saved, in float32.
        evaluation: What it says of the test images.
        record: What `run.json` holds.
    """

    run_directory: Path
    model: keras.Model
    evaluation: Evaluation
    record: dict[str, Any]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C while training; what was done until the last whole epoch is kept.

    Args:
        run_directory: The run to resume.
    """

    def __init__(self, run_directory: Path) -> None:
        super().__init__(str(run_directory))
        self.run_directory = run_directory


def train(
    options: TrainingOptions, *, run_dir: str | Path | None = None, resume: bool = False, console: Console | None = None
) -> TrainingResult:
    """Trains a model from random weights with `model.fit`, evaluates it, and leaves a run directory.

    The directory holds `model/` (a preset directory), `run.json`, `metrics.csv` and `figures/`. Interrupted, it also holds
    the state after the last whole epoch, from which `resume` goes on; on a CPU with TensorFlow or JAX, to the same result as
    without the interruption, bit for bit.

    Args:
        options: What to train.
        run_dir: A folder that does not exist; by default the next free one in `runs/`.
        resume: Goes on with the interrupted run in `run_dir`.
        console: Where progress is shown; nowhere by default.

    Raises:
        VitKerasError: Something was refused, before anything was trained.
        TrainingDivergedError: The loss is no number any more.
        TrainingInterrupted: Ctrl-C.
    """
    console = console or Console(quiet=True)
    started = time.monotonic()
    if resume and run_dir is None:
        raise InvalidArgumentError("To resume, say which run: give its run_dir.")
    run = (
        RunDirectory(Path(run_dir))
        if run_dir is not None
        else next_run_directory(Path("runs"), Path(options.data).resolve().name)
    )
    if resume:
        previous = _resumable(run, options)
    else:
        run.check_free()

    keras.utils.set_random_seed(options.seed)
    preset = load_preset(options.preset)
    data = _load(options, preset, console)
    recipe = RECIPES[preset.recipe](epochs=options.epochs, steps_per_epoch=data.steps_per_epoch)
    policy = resolve(options.precision)
    record = {
        "status": "running",
        "options": asdict(options),
        "precision": policy,
        "config": preset.config.to_dict(),
        "recipe": recipe.to_dict(),
        "data": _described(data),
        "environment": environment(),
        "seconds": {},
    }
    if resume:
        _check_same(previous, record)
    else:
        run.create()
    run.write(record)
    _introduce(console, run, data, preset, recipe, policy)

    try:
        with dtype_policy(policy):
            model = from_preset(preset.name, num_classes=len(data.class_names))
        fit_seconds = _fit(model, data, recipe, run, console, resume=resume)
        result = _conclude(model, data, run, record, console)
    except KeyboardInterrupt:
        run.write({**record, "status": "interrupted"})
        raise TrainingInterrupted(run.path) from None
    result.record["seconds"] = {"fit": fit_seconds, "total": time.monotonic() - started}
    result.record["status"] = "finished"
    run.write(result.record)
    run.checkpoint.unlink(missing_ok=True)
    return result


def recorded_options(run: RunDirectory) -> TrainingOptions:
    """Returns what a run was told to train.

    Args:
        run: A run directory.

    Raises:
        StorageError: This is no run directory.
        CorruptFileError: Its record is damaged.
        InvalidArgumentError: An option is not legal, or its preset is not there any more.
    """
    options = run.read()["options"]
    unknown = sorted(options.keys() - {field.name for field in fields(TrainingOptions)})
    if unknown:
        raise CorruptFileError(f"{run.record_file}: there are no options {unknown}.")
    return TrainingOptions(**options)


def _resumable(run: RunDirectory, options: TrainingOptions) -> dict[str, Any]:
    record = run.read()
    if record["status"] == "finished":
        raise ResumeError(f"{run.path} is already complete; `vit-keras evaluate {run.path}` repeats its result.")
    wanted = asdict(options)
    changed = [
        f"{name}: {record['options'].get(name)!r} then, {value!r} now"
        for name, value in wanted.items()
        if record["options"].get(name) != value
    ]
    if changed:
        raise ResumeError(
            f"{run.path} was started with other options ({'; '.join(changed)}); resume with those, or start a new run."
        )
    return record


def _check_same(previous: dict[str, Any], record: dict[str, Any]) -> None:
    for key, what in (("data", "data"), ("precision", "precision"), ("recipe", "recipe"), ("config", "preset")):
        if previous[key] != record[key]:
            raise ResumeError(
                f"The {what} changed since the run was interrupted: {previous[key]} then, {record[key]} now."
            )
    if previous["environment"]["backend"] != record["environment"]["backend"]:
        raise ResumeError(
            f"The run was started on the {previous['environment']['backend']} backend; set KERAS_BACKEND to that to resume it."
        )


def _load(options: TrainingOptions, preset: Preset, console: Console) -> ImageData:
    """Loads the data, with a bar over files that are checked for the first time."""
    with file_progress(console) as on_progress:
        return data_sources.load(
            options.data,
            image_size=Resizing(image_size=preset.config.image_size, channels=preset.config.channels),
            batch_size=options.batch_size,
            limit=options.limit,
            seed=options.seed,
            on_progress=on_progress,
        )


def _described(data: ImageData) -> dict[str, Any]:
    return {
        "name": data.name,
        "class_names": list(data.class_names),
        "images": data.sizes,
        "fingerprint": data.fingerprint,
        "notes": list(data.notes),
    }


def _introduce(
    console: Console, run: RunDirectory, data: ImageData, preset: Preset, recipe: Recipe, policy: str
) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
    console.print(f"data     {data.name}: {counts} images, {len(data.class_names)} classes", highlight=False)
    console.print(
        f"model    {preset.name}: {preset.params:,} parameters, {preset.config.num_macs / 1e6:,.0f} MMACs an image",
        highlight=False,
    )
    console.print(
        f"training {recipe.name}: {recipe.epochs} epochs of {recipe.steps_per_epoch} steps, {policy}, {keras.backend.backend()}",
        highlight=False,
    )
    console.print(f"run      {run.path}", highlight=False)
    for note in data.notes[:_NOTES_SHOWN]:
        console.print(f"left out {note}", highlight=False)
    if len(data.notes) > _NOTES_SHOWN:
        console.print(f"         and {len(data.notes) - _NOTES_SHOWN} more, in run.json", highlight=False)


def _fit(
    model: keras.Model, data: ImageData, recipe: Recipe, run: RunDirectory, console: Console, *, resume: bool
) -> float:
    model.compile(**recipe.compile_arguments)
    first_epoch = restore(model, run.checkpoint) if resume and run.checkpoint.exists() else 0
    if first_epoch == recipe.epochs:
        return 0.0
    progress = ProgressBar(console, first_epoch=first_epoch)
    if resume and run.metrics.exists():  # the last epoch's row may be of an epoch whose state was not written
        rows = run.metrics.read_bytes().splitlines(keepends=True)
        run.metrics.write_bytes(b"".join(rows[: 1 + first_epoch]))
    metrics = keras.callbacks.CSVLogger(run.metrics, append=resume)
    started = time.monotonic()
    try:
        history = model.fit(
            data.training_batches(
                epochs=recipe.epochs - first_epoch, augmentation=recipe.augmentation, first_epoch=first_epoch
            ),
            epochs=recipe.epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=recipe.steps_per_epoch,
            validation_data=data.validation,
            callbacks=[
                *recipe.callbacks,
                metrics,
                EpochCheckpoint(run.checkpoint),
                progress,
            ],
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        )
    except Exception:
        data.check_readable()  # what TensorFlow reports of it is less than it was told
        raise
    finally:
        progress.stop()
        if metrics.csv_file:  # open still where training was interrupted
            metrics.csv_file.close()
    if not np.isfinite(history.history["loss"][-1]):
        raise TrainingDivergedError(
            f"The loss of {run.path} became {history.history['loss'][-1]}. The epochs before are in {run.metrics.name}. Check the "
            "images, train in float32, or use a recipe with a lower learning rate."
        )
    return time.monotonic() - started


def _conclude(
    model: keras.Model, data: ImageData, run: RunDirectory, record: dict[str, Any], console: Console
) -> TrainingResult:
    """Saves the model, then judges what was saved."""
    if not run.model.exists():
        save_preset(model, run.model, class_names=data.class_names)
    saved, evaluation = evaluate_saved(run, data)
    run.figures.mkdir(exist_ok=True)
    figures.learning_curves(run.metrics, run.figures / "learning_curves.png")
    figures.confusion_matrix(evaluation, data.class_names, run.figures / "confusion_matrix.png")
    figures.predictions_sheet(data.splits["test"], evaluation, data.class_names, run.figures / "predictions.png")
    baseline = nearest_neighbour_accuracy(data)
    results = {"test_accuracy": evaluation.accuracy, "nearest_neighbour_accuracy": baseline}
    return TrainingResult(
        run_directory=run.path, model=saved, evaluation=evaluation, record={**record, "results": results}
    )


def evaluate_saved(run: RunDirectory, data: ImageData) -> tuple[keras.Model, Evaluation]:
    """Returns the model a run saved, in float32, and what it says of the test images.

    Args:
        run: Where the model is.
        data: What it was trained on.
    """
    with dtype_policy("float32"):
        model = from_preset(run.model)
    return model, evaluate(model, data.splits["test"])


def evaluate_run(path: str | Path) -> dict[str, Any]:
    """Returns the test accuracy of a finished run, computed again from its model and data.

    Args:
        path: The run directory.

    Returns:
        `test_accuracy`, and `recorded`, what `run.json` says.

    Raises:
        VitKerasError: This is no finished run, or its data are not what they were.
    """
    run = RunDirectory(Path(path))
    record = run.read()
    if record["status"] != "finished":
        raise ResumeError(
            f"{run.path} is not finished; `vit-keras train --resume --run-dir {run.path}` goes on with it."
        )
    options = recorded_options(run)
    data = _load(options, load_preset(options.preset), Console(quiet=True))
    if data.fingerprint != record["data"]["fingerprint"]:
        raise ResumeError(
            f"The images of {data.name} are not those the run was trained on; the figure can't be repeated."
        )
    _, evaluation = evaluate_saved(run, data)
    return {"test_accuracy": evaluation.accuracy, "recorded": record["results"]["test_accuracy"]}
