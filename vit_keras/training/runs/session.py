"""A run from its directory to its result, whatever is trained in it and how often it is interrupted."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import keras
from rich.console import Console

from vit_keras.data import ImageData, Preprocessing
from vit_keras.errors import ClassLayoutError, CorruptFileError, OutOfMemoryError, ResumeError, TrainingDivergedError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.evaluation.metrics import Evaluation
from vit_keras.runtime.precision import dtype_policy
from vit_keras.runtime.signals import Aborted
from vit_keras.training.callbacks.history import read_history
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.micro_batch import is_out_of_memory
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.runs import figures
from vit_keras.training.runs.directory import RunDirectory, environment
from vit_keras.training.runs.fitting import CHECKPOINT_SECONDS, Fitting
from vit_keras.training.runs.lock import RunLock
from vit_keras.training.runs.model_card import model_card_notes
from vit_keras.training.runs.random_state import random_state
from vit_keras.training.runs.report import write_report
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.save_preset import save_preset, write_card

_NOTES_SHOWN = 10
_SHOWN = 5  # differences in an error
_SAME = ("data", "precision", "recipe", "config", "base")
"""What a run that goes on must have in common with what was started, by its name in `run.json`."""
_IN_WORDS = ("decisions", "notes")


class RunOptions(Protocol):
    """What a command was told, as a dataclass."""

    command: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


Options = TypeVar("Options", bound=RunOptions)


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM while training; everything done is kept.

    Args:
        run_directory: The run to resume.
    """

    def __init__(self, run_directory: Path) -> None:
        super().__init__(str(run_directory))
        self.run_directory = run_directory


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingResult:
    """What came of a training run.

    Args:
        run_directory: Where everything is.
        model: The model as it was saved, in float32.
        evaluation: What it says of the images it was judged by: the test split's.
        record: What `run.json` holds.
        history: One row of metrics an epoch.
    """

    run_directory: Path
    model: keras.Model = field(repr=False)
    evaluation: Evaluation = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    history: list[dict[str, float]] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """One run: what is trained on what, and how.

    Args:
        run: Where everything is left.
        data: What it is trained, validated and tested on.
        recipe: How it is trained.
        record: What `run.json` says beside what every run says: options, precision, config, base.
        build: Makes the model that is trained, compiled by a recipe; called with that and whether a checkpoint will fill it.
        fits: False where making the model trains it, as a linear probe does.
        finish: Makes the model that is saved of the one that was trained.
        console: Where progress is shown.
        preprocessing: What brought the images to their size, kept with the model.
        measure: More results, such as a baseline's, by name.
        callbacks: Beside the recipe's own.
        checkpoint_seconds: Between two checkpoints within an epoch.
    """

    run: RunDirectory
    data: ImageData
    recipe: Recipe
    record: dict[str, Any]
    build: Callable[[Recipe, bool], keras.Model]
    console: Console
    fits: bool = True
    finish: Callable[[keras.Model], keras.Model] = lambda model: model
    preprocessing: Preprocessing | None = None
    measure: Callable[[], dict[str, float]] = dict
    callbacks: tuple[keras.callbacks.Callback, ...] = ()
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    started: float = field(default_factory=time.monotonic)

    def carry_out(self, *, resume: bool = False, force: bool = False) -> TrainingResult:
        """Trains, saves, judges and reports; or goes on with that.

        Args:
            resume: Goes on with the run that is there, or returns its result where it is finished.
            force: Goes on although versions changed, so that the result may differ in the last digits.

        Raises:
            VitKerasError: Something was refused, before anything was trained, or the training diverged.
            TrainingInterrupted: Ctrl-C or SIGTERM.
        """
        record = {
            "status": "running",
            **self.record,
            "recipe": self.recipe.to_dict(),
            "data": _described(self.data),
            "environment": environment(),
            "seconds": {},
        }
        if not resume:
            self.run.create()
        with RunLock(self.run.path), random_state(self.data.seed):
            if resume:
                previous = self.run.read()
                _check_same(self.run, previous, record, force=force)
                if previous["status"] == "finished":
                    return self._finished(previous)
                record["parts"] = previous.get("parts", 1)
            self.run.write(record)
            try:
                return self._carried_out(record, resume=resume)
            except Aborted:
                self.run.write({**record, "status": "interrupted"})
                raise
            except KeyboardInterrupt:
                self.run.write({**record, "status": "interrupted"})
                raise TrainingInterrupted(self.run.path) from None
            except TrainingDivergedError:
                self.run.write({**record, "status": "diverged"})
                raise

    def _carried_out(self, record: dict[str, Any], *, resume: bool) -> TrainingResult:
        history: list[dict[str, float]] = []
        if not self.run.model.exists():
            model, history = self._trained(record, resume=resume)
            save_preset(
                self.finish(model), self.run.model, class_names=self.data.class_names, preprocessing=self.preprocessing
            )
        else:
            history = self._recorded_history()
        model, evaluation = self._judged()
        results = {"test_accuracy": evaluation.accuracy, **self.measure()}
        seconds = {"fit": sum(row["seconds"] for row in history), "total": time.monotonic() - self.started}
        record = {**record, "status": "finished", "results": results, "seconds": seconds}
        self._show(record, history, evaluation)
        self.run.write(record)
        CheckpointStore(self.run.checkpoints).clear()
        return TrainingResult(
            run_directory=self.run.path, model=model, evaluation=evaluation, record=record, history=history
        )

    def _trained(self, record: dict[str, Any], *, resume: bool) -> tuple[keras.Model, list[dict[str, float]]]:
        """Trains with batches as they are; where there is no memory for that, with the same batches in two, four, ... parts."""
        while True:
            parts = record.get("parts", 1)
            recipe = self.recipe.replace(
                steps_per_epoch=self.recipe.steps_per_epoch * parts, accumulation=self.recipe.accumulation * parts
            )
            has_checkpoint = not CheckpointStore(self.run.checkpoints).is_empty()
            model = self.build(recipe, resume and has_checkpoint)
            if not self.fits:
                return model, []
            try:
                return model, self._fitting(model, recipe, parts).fit(resume=resume)
            except Exception as error:
                if not is_out_of_memory(error) or has_checkpoint:
                    raise
                if self.data.batch_size % (2 * parts):
                    raise OutOfMemoryError(
                        f"There is no memory for a step of {self.data.batch_size // parts} images ({error}), and batches of "
                        f'{self.data.batch_size} have no smaller part: take a smaller model or images, remat="block", bfloat16, or '
                        "a method that trains fewer weights, such as adapters."
                    ) from error
            record["parts"] = 2 * parts
            self.run.write(record)
            self.console.print(
                f"Not enough memory: batches of {self.data.batch_size} go in {record['parts']} parts now, to the same effect.",
                highlight=False,
            )

    def _fitting(self, model: keras.Model, recipe: Recipe, parts: int) -> Fitting:
        return Fitting(
            model=model,
            data=replace(self.data, parts=parts),
            recipe=recipe,
            run=self.run,
            console=self.console,
            callbacks=self.callbacks,
            checkpoint_seconds=self.checkpoint_seconds,
        )

    def _judged(self) -> tuple[keras.Model, Evaluation]:
        """Returns what was saved, in float32, and what it says of the test images."""
        with dtype_policy("float32"):
            model = from_preset(self.run.model)
        return model, evaluate(model, self.data.splits["test"])

    def _show(self, record: Mapping[str, Any], history: list[dict[str, float]], evaluation: Evaluation) -> None:
        """Leaves what a person looks at: figures, the report, the model's card."""
        names, run, test = self.data.class_names, self.run, self.data.splits["test"]
        run.figures.mkdir(exist_ok=True)
        if history:
            figures.learning_curves(run.metrics, run.figures / "learning_curves.png")
        figures.confusion_matrix(evaluation, names, run.figures / "confusion_matrix.png")
        figures.predictions_sheet(test, evaluation, names, run.figures / "predictions.png")
        write_report(run.report, record=record, history=history, evaluation=evaluation, split=test, class_names=names)
        write_card(run.model, notes=model_card_notes(record, evaluation, names))

    def _finished(self, record: dict[str, Any]) -> TrainingResult:
        self.console.print(f"{self.run.path} is already complete", highlight=False)
        model, evaluation = self._judged()
        return TrainingResult(
            run_directory=self.run.path,
            model=model,
            evaluation=evaluation,
            record=record,
            history=self._recorded_history(),
        )

    def _recorded_history(self) -> list[dict[str, float]]:
        return read_history(self.run.metrics) if self.fits else []

    def introduce(self, title: str) -> None:
        """Prints what is about to happen.

        Args:
            title: What the model is, in a line.
        """
        data, recipe = self.data, self.recipe
        counts = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
        lines = [
            f"data     {data.name}: {counts} images, {len(data.class_names)} classes",
            f"model    {title}",
            f"training {recipe.name}: {recipe.epochs} epochs of {recipe.steps_per_epoch} steps, {self.record['precision']}, "
            f"{keras.backend.backend()}",
            f"run      {self.run.path}",
            *(f"read     {decision}" for decision in data.decisions),
            *(f"note     {note}" for note in data.notes[:_NOTES_SHOWN]),
        ]
        if len(data.notes) > _NOTES_SHOWN:
            lines.append(f"         and {len(data.notes) - _NOTES_SHOWN} more, in run.json")
        for line in lines:
            self.console.print(line, highlight=False)


def recorded_options(run: RunDirectory, kind: type[Options]) -> Options:
    """Returns what a run was told, as its command takes it.

    Args:
        run: A run directory.
        kind: `TrainingOptions` or `FinetuningOptions`.

    Raises:
        StorageError: This is no run directory.
        ResumeError: It is a run of another command.
        CorruptFileError: Its record is damaged.
        InvalidArgumentError: An option is not legal, or its preset is not there any more.
    """
    record = run.read()
    if record["command"] != kind.command:
        raise ResumeError(
            f"{run.path} is a run of `vit-keras {record['command']}`; `vit-keras {record['command']} --resume --run-dir "
            f"{run.path}` goes on with it."
        )
    unknown = sorted(record["options"].keys() - {each.name for each in fields(kind)})
    if unknown:
        raise CorruptFileError(f"{run.record_file}: there are no options {unknown}.")
    return kind(**record["options"])


def load_as_recorded(load: Callable[[tuple[str, ...] | None], ImageData], run: RunDirectory) -> ImageData:
    """Returns a run's data with the classes in the order they have in its model, whatever order they would have by now.

    Args:
        load: Loads the data with classes in an order, None for the order they have by now.
        run: The run directory.
    """
    data = run.read().get("data")
    names = data.get("class_names") if isinstance(data, dict) else None
    if not names:
        return load(None)
    try:
        return load(tuple(names))
    except ClassLayoutError:  # other classes by now, which is said where the data are compared
        return load(None)


def check_options(run: RunDirectory, options: Mapping[str, Any]) -> None:
    """Raises `ResumeError` where a run was told something else when it was started.

    Args:
        run: What is resumed.
        options: What it is told now, by name.
    """
    changed = _differences(run.read()["options"], json.loads(json.dumps(options)))
    if changed:
        raise ResumeError(
            f"{run.path} was started with other options ({'; '.join(changed)}); resume with those, or start a new run."
        )


def _described(data: ImageData) -> dict[str, Any]:
    return {
        "name": data.name,
        "class_names": list(data.class_names),
        "images": data.sizes,
        "fingerprint": data.fingerprint,
        "decisions": list(data.decisions),
        "notes": list(data.notes),
    }


def _check_same(run: RunDirectory, previous: Mapping[str, Any], record: Mapping[str, Any], *, force: bool) -> None:
    """Raises `ResumeError`, naming each field, where a run would not go on as it began."""
    record = json.loads(json.dumps(record))  # as it will be read the next time
    begun, now = ({key: _compared(each.get(key)) for key in _SAME} for each in (previous, record))
    changed = _differences({key: _with_new_fields(value, now[key]) for key, value in begun.items()}, now)
    if changed:
        raise ResumeError(
            f"{run.path} can't go on: what it was started with changed. {'; '.join(changed[:_SHOWN])}"
            f"{f'; and {len(changed) - _SHOWN} more' if len(changed) > _SHOWN else ''}. Go on with what it was started with, or start a new run."
        )
    then, current = (
        {**each["environment"]["versions"], "backend": each["environment"]["backend"]} for each in (previous, record)
    )
    changed = _differences(then, current)
    if changed and not force:
        raise ResumeError(
            f"{run.path} would not go on to the same result, to the bit: {'; '.join(changed)}. Go on with what it was started with "
            "(the backend is KERAS_BACKEND), or accept another result in the last digits with --force-resume."
        )


def _compared(value: Any) -> Any:
    """Returns a value of a record without what is said in words: the fingerprint tells whether the images are the same."""
    return {key: each for key, each in value.items() if key not in _IN_WORDS} if isinstance(value, dict) else value


_NEW_FIELDS = {"seed", "distillation_head", "map_includes_prefix"}
"""Fields of recipe and config that earlier versions did not write, when they had one value."""


def _with_new_fields(then: Any, now: Any) -> Any:
    """Returns what an earlier version wrote, with the fields that it did not know as they are now."""
    if not isinstance(then, dict) or not isinstance(now, dict):
        return then
    return {**{key: now[key] for key in _NEW_FIELDS & now.keys()}, **then}


def _differences(then: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        keys = sorted(then.keys() | now.keys())
        return [
            line for key in keys for line in _differences(then.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if then == now else [f"{name}: {then!r:.200} then, {now!r:.200} now"]
