"""Cross-validation: a final model of all images, measured by one run per fold."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import keras

from vit_keras.data import ImageData
from vit_keras.data.dataset.folds import make_folds
from vit_keras.training.model_run import model_session
from vit_keras.training.recipes import Recipe
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.session import Session

Plan = Callable[[ImageData], Recipe]
Measure = Callable[[ImageData], dict[str, float]]


def plan_session(
    command: str,
    model: keras.Model,
    data: ImageData,
    plan: Plan,
    *,
    folds: int | None,
    run: RunDirectory,
    measure: Measure | None = None,
    **how: Any,
) -> Session:
    """Returns a run of a model; with `folds`, of a cross-validation.

    Args:
        command: "train" or "finetune".
        model: The model of which copies are trained.
        data: With `folds`, its splits are joined.
        plan: Returns the recipe for the data of the run, or of a fold.
        folds: Number of folds; None for no cross-validation.
        run: The run directory.
        measure: Returns more results for the data of a run.
        **how: Further arguments of `model_session`.
    """

    def make(part: ImageData, place: RunDirectory, **others: Any) -> Session:
        measured = dict if measure is None else partial(measure, part)
        return model_session(command, model, part, plan(part), run=place, measure=measured, **how, **others)

    if folds is None:
        return make(data, run)
    made = make_folds(data, folds)
    parts = tuple(
        make(part, RunDirectory(run.folds / f"{number + 1}"), announce=False) for number, part in enumerate(made.parts)
    )
    session = make(made.whole, run)
    record = {**session.record, "folds": len(parts)}
    return replace(session, record=record, folds=parts, tested=made.tested, measure=dict)


def adapt_recipe(recipe: Recipe, data: ImageData) -> Recipe:
    """Returns a complete recipe for the number of images of a fold."""
    data = replace(data, batch_size=min(data.batch_size, len(data.splits["train"])))
    return replace(recipe.replace(steps_per_epoch=data.steps_per_epoch), data=data)
