"""`train`: trains a model from random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import keras
from rich.console import Console

from vit_keras.config import ViTConfig
from vit_keras.data import ImageData
from vit_keras.data.images.preprocess import default_preprocessing
from vit_keras.data.sources.builtin import BUILTIN_NAMES
from vit_keras.distributed.arguments import Distribution
from vit_keras.distributed.devices import chief_console, run_on
from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.baseline import measure_baseline
from vit_keras.models.vit import model_config, vit
from vit_keras.presets import load_preset
from vit_keras.reporting.progress import standard_console
from vit_keras.runtime.precision import dtype_policy
from vit_keras.runtime.random_state import random_state
from vit_keras.runtime.tensorflow_threads import prefer_parallel_operations
from vit_keras.training.cross_validation import adapt_recipe, plan_session
from vit_keras.training.model_run import check_recipe_alone, list_callbacks, open_run
from vit_keras.training.recipes import SCRATCH, Recipe
from vit_keras.training.recipes.planning import plan_recipe
from vit_keras.training.run_inputs import RunOptions, check_precision, find_word, load_data
from vit_keras.training.runs.session import TrainingResult
from vit_keras.zoo.find_model import find_model
from vit_keras.zoo.load_model import load_model
from vit_keras.zoo.preset_directory import read_directory

BATCH_SIZE = 128
_SMALL_IMAGES = 96  # px, up to which the recipe `small_images` was measured


def train(
    model: keras.Model | str | Path | None = None,
    data: Any = "emoji",
    validation: Any = None,
    *,
    recipe: Recipe | str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    task: str = "auto",
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    precision: str = "auto",
    folds: int | None = None,
    split: tuple[float, float] | None = None,
    devices: int | Literal["auto"] = "auto",
    distribution: Distribution = "data",
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    tensorboard: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    console: Console | None = None,
    **changes: Any,
) -> TrainingResult:
    """Trains a copy of a model from its random weights, evaluates it, and writes the results to a run directory.

    The directory holds `model/` (a preset directory), `run.json`, `metrics.csv`, `report.html` and `figures/`. A run is resumed as in
    `finetune`. Model and data may be named as on the command line: `train("vit_nano_conv8_96", "photos")`.

    Args:
        model: Made by `vit`, with random weights; its head is replaced where the number of classes differs. Or the name of a preset, or
            a run or preset directory, whose architecture gets new random weights; None for a small preset that suits the data.
        data: As for `finetune`; by default the embedded emoji.
        validation: As for `finetune`.
        recipe: A name of `vk.recipes.SCRATCH`, or a complete recipe; None for the preset's, or to choose by the image size.
        epochs: Training epochs; None for 50.
        batch_size: Images per batch; None for that of an `ImageData`, or up to 128, as few as the number of images needs.
        limit: As for `finetune`.
        seed: Random seed of the weights, the order, augmentation and splits; None for 0, or that of an `ImageData`.
        task: As for `finetune`.
        image_dir: As for `finetune`.
        image_column: As for `finetune`.
        label_column: As for `finetune`.
        label_separator: As for `finetune`.
        contained: As for `finetune`.
        precision: As for `finetune`.
        folds: As for `finetune`.
        split: As for `finetune`.
        devices: As for `finetune`.
        distribution: As for `finetune`.
        run_dir: As for `finetune`.
        resume: As for `finetune`.
        force_resume: As for `finetune`.
        tensorboard: As for `finetune`.
        callbacks: As for `finetune`.
        console: As for `finetune`.
        **changes: Fields of the recipe to use instead of its values.

    Raises:
        VitKerasError: Something was refused, before training.
        TrainingDivergedError: The loss became NaN or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    prefer_parallel_operations()
    with run_on(devices, distribution):
        console = chief_console(console or standard_console())
        options = RunOptions(
            model=find_word(default_preset(data) if model is None else model),
            data=find_word(data) if validation is None else None,
            recipe=recipe if isinstance(recipe, str) else None,
            epochs=epochs,
            batch_size=batch_size,
            limit=limit,
            seed=seed,
            folds=folds,
            split=split,
            task=task,
            image_dir=image_dir,
            image_column=image_column,
            label_column=label_column,
            label_separator=label_separator,
            contained=contained,
            precision=precision,
            changes=changes,
        )
        run = open_run(run_dir, data, options, resume=resume)
        config = model_config(model) if isinstance(model, keras.Model) else _find_config(str(options.model))
        size = default_preprocessing(config)
        images = load_data(
            data, validation, options, size, batch_size=BATCH_SIZE, console=console, resumed=run if resume else None
        )
        if isinstance(model, keras.Model):
            check_precision(model, options)
        else:
            with random_state(images.seed if seed is None else seed), dtype_policy(options.policy):
                model = vit(config, num_classes=len(images.class_names))
        if isinstance(recipe, Recipe):
            check_recipe_alone(changes=changes, epochs=epochs, seed=seed)

        def plan(part: ImageData) -> Recipe:
            if isinstance(recipe, Recipe):
                return recipe if folds is None else adapt_recipe(recipe, part)
            name = _choose_recipe(options, config)
            return plan_recipe(model, part, method=name, epochs=epochs, changes=options.recipe_changes)

        session = plan_session(
            "train",
            model,
            images,
            plan,
            folds=folds,
            run=run,
            console=console,
            options=options,
            preprocessing=None if options.model is None else size,
            measure=measure_baseline,
            callbacks=list_callbacks(callbacks, run, tensorboard=tensorboard),
        )
        return session.execute(resume=resume, force=force_resume)


def default_preset(data: Any) -> str:
    """Returns a preset that trains in minutes on two cores: at 32 px for the small data sets, at 96 px for your own."""
    is_small = isinstance(data, str) and data in BUILTIN_NAMES
    return "vit_nano_conv8_32" if is_small else "vit_nano_conv8_96"


def _find_config(word: str) -> ViTConfig:
    """Returns the architecture of a preset, a directory or a `.keras` file."""
    found = find_model(word)
    if found.tag is not None:
        raise InvalidArgumentError(
            f"train starts from random weights, so {word} names too much: train {found.preset}, or fine-tune {word}."
        )
    if found.preset is not None:
        return load_preset(found.preset).config
    if found.path is not None and found.path.is_dir():
        return read_directory(found.path).config
    return model_config(load_model(word))


def _choose_recipe(options: RunOptions, config: ViTConfig) -> str:
    preset = None if options.model is None else find_model(options.model).preset
    published = load_preset(preset).recipe if preset is not None else ""
    by_size = "small_images" if max(config.image_size) <= _SMALL_IMAGES else "from_scratch"
    return options.recipe or (published if published in SCRATCH else by_size)
