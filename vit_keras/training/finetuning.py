"""`finetune`: fine-tunes a pretrained model with default hyperparameters, each with its reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.training.cross_validation import adapt_recipe, plan_session
from vit_keras.training.model_run import check_recipe_alone, load_for_model, open_run
from vit_keras.training.recipes.planning import plan_recipe
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.runs.session import TrainingResult


def finetune(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    recipe: Recipe | None = None,
    method: str = "auto",
    epochs: int | None = None,
    folds: int | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    console: Console | None = None,
    **changes: Any,
) -> TrainingResult:
    """Fine-tunes a copy of a model, evaluates it, and writes a report, metrics and the model to a run directory.

    Works with default settings: what is not given is chosen, and printed with the reason. A run that was killed at any moment can be
    resumed with the same call and `resume=True`; on a CPU with TensorFlow or JAX, the result is the same bit for bit.

    Args:
        model: Made by `vit` or `from_preset`; where the classes differ, its head is replaced, or the last dense layer of your own.
        train: An `ImageData` with all splits; or arrays `(images, labels)`, a `tf.data.Dataset` or a `keras.utils.PyDataset`.
        validation: Likewise; the result is then on these images. None where `train` has all splits, or to split off a part of it.
        recipe: A complete recipe, such as `vk.recipes.finetune(model, data)`; None to make one from the options below.
        method: A recipe of `vk.recipes.FINETUNING`; "auto" chooses by the number of images per class.
        epochs: Training epochs; None to choose.
        folds: Number of folds of a cross-validation, such as 5: every image is tested once, by a model trained without it, and the mean
            and spread over the folds are reported. The model that is saved is trained on all images. None for the data's own test split.
        run_dir: A folder that does not exist; by default the first free `runs/NAME-1`, `runs/NAME-2`, ..., named by the data.
        resume: Whether to resume the interrupted run in `run_dir`.
        force_resume: Whether to resume under other versions, which may change the last digits of the result.
        callbacks: Keras callbacks in addition to the recipe's, such as `keras.callbacks.TensorBoard`.
        console: Where choices and progress are printed; None for stdout.
        **changes: Fields of the recipe to use instead of the chosen values.

    Raises:
        VitKerasError: Something was refused, before training.
        TrainingDivergedError: The loss became NaN or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    data = load_for_model(model, train, validation)
    run = open_run(run_dir, data.name, resume=resume)
    if recipe is not None:
        check_recipe_alone(changes=changes, method=None if method == "auto" else method, epochs=epochs)

    def plan(part: ImageData) -> Recipe:
        if recipe is None:
            return plan_recipe(model, part, method=method, epochs=epochs, changes=changes)
        return recipe if folds is None else adapt_recipe(recipe, part)

    session = plan_session("finetune", model, data, plan, folds=folds, run=run, console=console, callbacks=callbacks)
    return session.execute(resume=resume, force=force_resume)
