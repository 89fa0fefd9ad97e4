"""Training and fine-tuning of presets by name, with the options of the command line."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import keras
from rich.console import Console

from vit_keras import data as data_sources
from vit_keras.data import ImageData, Preprocessing, preset_preprocessing
from vit_keras.data.scan.progress import file_progress
from vit_keras.data.sources.builtin import KERAS_NAMES
from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.baseline import measure_baseline
from vit_keras.presets import list_presets, load_preset
from vit_keras.runtime.precision import dtype_policy, resolve
from vit_keras.runtime.random_state import random_state
from vit_keras.training.callbacks.progress_bar import standard_console
from vit_keras.training.model_run import BATCH_SIZE, model_session, open_run
from vit_keras.training.recipes import RECIPES
from vit_keras.training.recipes.planning import plan_recipe
from vit_keras.training.recipes.sizing import SCRATCH_EPOCHS
from vit_keras.training.recipes.task_fields import fit_task
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.loading_options import LoadingOptions, find_load_keywords
from vit_keras.training.runs.resuming import check_options, load_as_recorded
from vit_keras.training.runs.session import Session, TrainingResult
from vit_keras.training.trainer import check_scratch_recipe
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_preprocessing


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(LoadingOptions):
    """The options of `vit-keras train`, which `run.json` keeps."""

    command: ClassVar[str] = "train"

    data: str = "emoji"  # what `vk.data.load` takes
    preset: str = ""  # by default `default_preset(data)`
    recipe: str = ""  # one of `SCRATCH`, by default the preset's
    epochs: int = SCRATCH_EPOCHS
    batch_size: int = 128
    limit: int | None = None  # maximum number of images per split
    seed: int = 0  # of weights, order, augmentation and splits
    precision: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", str(self.data))
        object.__setattr__(self, "preset", self.preset or default_preset(self.data))
        problems = [
            f"{name} must be an integer of at least 1, got {value!r}"
            for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size), ("limit", self.limit))
            if not (name == "limit" and value is None) and (type(value) is not int or value < 1)
        ]
        if type(self.seed) is not int or not 0 <= self.seed < 2**31:
            problems.append(f"seed must be an integer from 0 to {2**31 - 1}, got {self.seed!r}")
        for check in (self._use_preset, self._check_recipe, lambda: resolve(self.precision)):
            try:
                check()
            except InvalidArgumentError as error:
                problems.append(str(error).rstrip("."))
        if problems:
            raise InvalidArgumentError(f"These options are not valid: {'; '.join(problems)}.")

    def _use_preset(self) -> None:
        preset = load_preset(self.preset)
        object.__setattr__(self, "recipe", self.recipe or preset.recipe)

    def _check_recipe(self) -> None:
        if self.recipe:
            check_scratch_recipe(self.recipe)


@dataclass(frozen=True, kw_only=True)
class FinetuningOptions(LoadingOptions):
    """The options of `vit-keras finetune`, which `run.json` keeps."""

    command: ClassVar[str] = "finetune"

    preset: str  # a name, or a preset directory
    data: str  # what `vk.data.load` takes
    weights: str | None = None  # a tag or the path of a checkpoint; None for those of a directory
    method: str = "auto"  # one of `FINETUNING`, or "auto"
    epochs: int | None = None
    batch_size: int = BATCH_SIZE
    limit: int | None = None  # maximum number of images per split
    seed: int = 0  # of a new head, order, augmentation and splits
    precision: str = "auto"
    accept_license: bool = False
    changes: dict[str, Any] = field(default_factory=dict)  # of the recipe


def default_preset(data: str) -> str:
    """Returns a preset that trains in minutes on two cores: at 32 px for the small data sets, at 96 px for your own."""
    return "vit_nano_conv8_32" if data in ("emoji", *KERAS_NAMES) else "vit_nano_conv8_96"


def train_preset(
    options: TrainingOptions,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    console: Console | None = None,
) -> TrainingResult:
    """Trains a preset from random weights."""
    console = console or standard_console()
    run = _open_run(options, run_dir, resume=resume)
    preset, policy = load_preset(options.preset), resolve(options.precision)
    size = Preprocessing(image_size=preset.config.image_size, channels=preset.config.channels)
    data = _load_data(options, size, run, console, resume=resume)
    recipe = RECIPES[options.recipe].unsized(
        epochs=options.epochs, steps_per_epoch=data.steps_per_epoch, seed=options.seed
    )
    recipe = fit_task(recipe, data.splits["train"].labels)

    def build() -> keras.Model:
        with random_state(options.seed), dtype_policy(policy):
            return from_preset(preset.name, num_classes=len(data.class_names))

    session = Session(
        run=run,
        data=data,
        recipe=recipe,
        record={"command": "train", "options": asdict(options), "precision": policy, "config": preset.config.to_dict()},
        build=build,
        console=console,
        preprocessing=preset_preprocessing(preset.name),
        measure=lambda: measure_baseline(data),
    )
    session.print_plan(
        f"{preset.name}: {preset.params:,} parameters, {preset.config.num_macs / 1e6:,.0f} MMACs per image"
    )
    return session.execute(resume=resume, force=force_resume)


def finetune_preset(
    options: FinetuningOptions,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    tensorboard: bool = False,
    offline: bool | None = None,
    console: Console | None = None,
) -> TrainingResult:
    """Fine-tunes a preset."""
    console = console or standard_console()
    run = _open_run(options, run_dir, resume=resume)
    with random_state(options.seed), dtype_policy(resolve(options.precision)):
        model = from_preset(
            options.preset, weights=options.weights, accept_license=options.accept_license, offline=offline
        )
    preprocessing = _find_preprocessing(options)
    data = _load_data(options, preprocessing, run, console, resume=resume)
    recipe = plan_recipe(model, data, method=options.method, epochs=options.epochs, changes=options.changes)
    session = model_session(
        "finetune",
        model,
        data,
        recipe,
        run=run,
        console=console,
        options=asdict(options),
        preprocessing=preprocessing,
        callbacks=[keras.callbacks.TensorBoard(str(run.path / "tensorboard"))] if tensorboard else [],
    )
    return session.execute(resume=resume, force=force_resume)


def _open_run(
    options: TrainingOptions | FinetuningOptions, run_dir: str | Path | None, *, resume: bool
) -> RunDirectory:
    run = open_run(run_dir, options.data, resume=resume)
    if resume:
        check_options(run, asdict(options))
    return run


def _load_data(
    options: TrainingOptions | FinetuningOptions,
    preprocessing: Preprocessing,
    run: RunDirectory,
    console: Console,
    *,
    resume: bool,
) -> ImageData:
    def load(class_names: tuple[str, ...] | None) -> ImageData:
        with file_progress(console) as on_progress:  # while files are checked for the first time
            return data_sources.load(
                options.data,
                preprocessing=preprocessing,
                batch_size=options.batch_size,
                limit=options.limit,
                seed=options.seed,
                class_names=class_names,
                on_progress=on_progress,
                **find_load_keywords(asdict(options)),
            )

    return load_as_recorded(load, run) if resume else load(None)


def _find_preprocessing(options: FinetuningOptions) -> Preprocessing:
    if options.preset not in list_presets():
        return load_preprocessing(options.preset)
    tag = options.weights if options.weights in load_preset(options.preset).weights else None
    return preset_preprocessing(options.preset, weights=tag)
