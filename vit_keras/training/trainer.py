"""A data set, a preset and a recipe become a trained model and everything one wants to know of it."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import keras
from rich.console import Console

from vit_keras import data as data_sources
from vit_keras.data import ImageData, Preprocessing, preset_preprocessing
from vit_keras.data.scan.progress import file_progress
from vit_keras.data.sources.builtin import KERAS_NAMES
from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.evaluate import nearest_neighbour_accuracy
from vit_keras.presets import Preset, load_preset
from vit_keras.runtime.precision import dtype_policy, resolve
from vit_keras.training.callbacks.progress_bar import standard_console
from vit_keras.training.finetuning import prepared
from vit_keras.training.planning import SCRATCH_EPOCHS
from vit_keras.training.recipes import RECIPES, SCRATCH, Recipe
from vit_keras.training.runs.directory import RunDirectory, next_run_directory
from vit_keras.training.runs.random_state import random_state
from vit_keras.training.runs.session import Session, TrainingResult, check_options, load_as_recorded
from vit_keras.zoo.preset_directory import from_preset


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
        recipe: One of `SCRATCH`; by default the preset's.
        epochs: Passes over the training images.
        batch_size: Images a step.
        limit: Most images of each split; None for all.
        seed: Decides weights, order, augmentation and what is held out.
        precision: "auto", "float32", "mixed_bfloat16" or "mixed_float16".
    """

    command: ClassVar[str] = "train"

    data: str = "emoji"
    preset: str = ""
    recipe: str = ""
    epochs: int = SCRATCH_EPOCHS
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
            preset = load_preset(self.preset)
        except InvalidArgumentError as error:
            wrong.append(str(error).rstrip("."))
        else:
            object.__setattr__(self, "recipe", self.recipe or preset.recipe)
        if self.recipe and self.recipe not in SCRATCH:
            wrong.append(f"recipe={self.recipe!r} does not begin with random weights; one of {', '.join(SCRATCH)} does")
        try:
            resolve(self.precision)
        except InvalidArgumentError as error:
            wrong.append(str(error).rstrip("."))
        if wrong:
            raise InvalidArgumentError("This can't be trained: " + "; ".join(wrong) + ".")


def train(
    options: TrainingOptions,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    console: Console | None = None,
) -> TrainingResult:
    """Trains a model from random weights with `model.fit`, evaluates it, and leaves a run directory.

    The directory holds `model/` (a preset directory), `run.json`, `metrics.csv`, `report.html` and `figures/`. Until it is
    finished it also holds checkpoints, from which `resume` goes on, whatever ended it: on a CPU with TensorFlow or JAX to the same
    result as without the interruption, bit for bit.

    Args:
        options: What to train.
        run_dir: A folder that does not exist; by default the first free `runs/NAME-1`, `runs/NAME-2`, ... in the current directory,
            with the name of the data.
        resume: Goes on with the interrupted run in `run_dir`.
        force_resume: Goes on under other versions, too; the result may then differ in the last digits.
        console: Where progress is shown; stdout by default.

    Raises:
        VitKerasError: Something was refused, before anything was trained.
        TrainingDivergedError: The loss is no number any more.
        TrainingInterrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    console = console or standard_console()
    if resume and run_dir is None:
        raise InvalidArgumentError("To resume, say which run: give its run_dir.")
    run = RunDirectory(Path(run_dir)) if run_dir is not None else next_run_directory(options.data)
    if resume:
        check_options(run, asdict(options))
    else:
        run.check_free()
    preset = load_preset(options.preset)
    load = partial(_load, options, preset, console)
    data = load_as_recorded(load, run) if resume else load()
    recipe = RECIPES[options.recipe].unsized(
        epochs=options.epochs, steps_per_epoch=data.steps_per_epoch, seed=options.seed
    )
    policy = resolve(options.precision)

    def build(recipe: Recipe, resuming: bool) -> keras.Model:
        with random_state(options.seed), dtype_policy(policy):
            model = from_preset(preset.name, num_classes=len(data.class_names))
        return prepared(model, data, recipe)

    session = Session(
        run=run,
        data=data,
        recipe=recipe,
        record={"command": "train", "options": asdict(options), "precision": policy, "config": preset.config.to_dict()},
        build=build,
        console=console,
        preprocessing=preset_preprocessing(preset.name),
        measure=lambda: {"nearest_neighbour_accuracy": nearest_neighbour_accuracy(data)},
    )
    session.introduce(
        f"{preset.name}: {preset.params:,} parameters, {preset.config.num_macs / 1e6:,.0f} MMACs an image"
    )
    return session.carry_out(resume=resume, force=force_resume)


def _load(
    options: TrainingOptions, preset: Preset, console: Console, class_names: tuple[str, ...] | None = None
) -> ImageData:
    """Loads the data, with a bar over files that are checked for the first time."""
    with file_progress(console) as on_progress:
        return data_sources.load(
            options.data,
            preprocessing=Preprocessing(image_size=preset.config.image_size, channels=preset.config.channels),
            batch_size=options.batch_size,
            limit=options.limit,
            seed=options.seed,
            class_names=class_names,
            on_progress=on_progress,
        )
