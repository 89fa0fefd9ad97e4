"""`train`: trains a model from random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.baseline import measure_baseline
from vit_keras.models.vit import model_config
from vit_keras.training.model_run import check_recipe_alone, load_for_model, model_session, open_run
from vit_keras.training.recipes import SCRATCH, Recipe
from vit_keras.training.recipes.planning import plan_recipe
from vit_keras.training.runs.session import TrainingResult
from vit_keras.validation import closest

_SMALL_IMAGES = 96  # px, up to which the recipe `small_images` was measured


def train(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    recipe: Recipe | str | None = None,
    epochs: int | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    console: Console | None = None,
    **changes: Any,
) -> TrainingResult:
    """Trains a copy of a model from its random weights, evaluates it, and writes the results to a run directory.

    The directory holds `model/` (a preset directory), `run.json`, `metrics.csv`, `report.html` and `figures/`. A run is resumed as in
    `finetune`, with a model of the same weights.

    Args:
        model: Made by `vit`, with random weights; its head is replaced where the number of classes differs.
        train: As for `finetune`.
        validation: As for `finetune`.
        recipe: A name of `vk.recipes.SCRATCH`, or a complete recipe; None to choose by the image size.
        epochs: Training epochs; None for 50.
        run_dir: As for `finetune`.
        resume: As for `finetune`.
        force_resume: As for `finetune`.
        callbacks: As for `finetune`.
        console: As for `finetune`.
        **changes: Fields of the recipe to use instead of its values.

    Raises:
        VitKerasError: Something was refused, before training.
        TrainingDivergedError: The loss became NaN or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    data = load_for_model(model, train, validation)
    run = open_run(run_dir, data.name, resume=resume)
    if isinstance(recipe, Recipe):
        check_recipe_alone(changes=changes, epochs=epochs)
    else:
        if recipe is None:
            recipe = "small_images" if max(model_config(model).image_size) <= _SMALL_IMAGES else "from_scratch"
        check_scratch_recipe(recipe)
        recipe = plan_recipe(model, data, method=recipe, epochs=epochs, changes=changes)
    session = model_session(
        "train",
        model,
        data,
        recipe,
        run=run,
        console=console,
        measure=lambda: measure_baseline(data),
        callbacks=callbacks,
    )
    return session.execute(resume=resume, force=force_resume)


def check_scratch_recipe(name: str) -> None:
    """Raises `InvalidArgumentError` where a name is not one of `SCRATCH`."""
    if name not in SCRATCH:
        raise InvalidArgumentError(
            f"recipe={name!r} is not a recipe for random weights; the closest are {closest(name, SCRATCH)}, and all are "
            f"{', '.join(SCRATCH)}. To train a pretrained model, use finetune."
        )
