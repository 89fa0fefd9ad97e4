"""`finetune`: fine-tunes a pretrained model with default hyperparameters, each with its reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import keras
from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.distributed.arguments import Distribution
from vit_keras.distributed.devices import chief_console, run_on
from vit_keras.reporting.progress import standard_console
from vit_keras.runtime.tensorflow_threads import prefer_parallel_operations
from vit_keras.training.cross_validation import adapt_recipe, plan_session
from vit_keras.training.model_run import check_recipe_alone, list_callbacks, open_run
from vit_keras.training.recipes.planning import plan_recipe
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.run_inputs import RunOptions, find_word, load_data, open_base
from vit_keras.training.runs.session import TrainingResult

BATCH_SIZE = 64


def finetune(
    model: keras.Model | str | Path,
    data: Any,
    validation: Any = None,
    *,
    weights: str | Path | None = None,
    recipe: Recipe | None = None,
    method: str = "auto",
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
    accept_license: bool = False,
    offline: bool | None = None,
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
    """Fine-tunes a copy of a model, evaluates it, and writes a report, metrics and the model to a run directory.

    Works with default settings: what is not given is chosen, and printed with the reason. A run that was killed at any moment can be
    resumed with the same call and `resume=True`; on a CPU with TensorFlow or JAX, the result is the same bit for bit. Model and data
    may be named as on the command line: `finetune("vit_small_patch16_224:augreg_in21k", "photos")`.

    Args:
        model: A model of this library, or its name: a preset, `NAME:TAG` for a preset's weights, a run directory, a preset directory, a
            `.keras` file. Where the classes differ, its head is replaced, or the last dense layer of your own.
        data: What `vk.data.load` takes, such as a folder of class folders, resized by the model's preprocessing; or an `ImageData`.
        validation: Likewise; the result is then on these images. None where `data` has all splits, or to split off a part of it.
        weights: For a preset's name: a tag of its weights, or the path of a checkpoint.
        recipe: A complete recipe, such as `vk.recipes.finetune(model, data)`; None to make one from the options below.
        method: A recipe of `vk.recipes.FINETUNING`; "auto" chooses by the number of images per class.
        epochs: Training epochs; None to choose.
        batch_size: Images per batch; None for that of an `ImageData`, or up to 64, as few as the number of images needs.
        limit: Maximum number of images per split.
        seed: Random seed of a new head, the order, augmentation and splits; None for 0, or that of an `ImageData`.
        folds: Number of folds of a cross-validation, such as 5: every image is tested once, by a model trained without it, and the mean
            and spread over the folds are reported. The model that is saved is trained on all images. None for the data's own test split.
        split: Fractions of each class for validation and test, where the data have no such splits; (0.1, 0) for no test split.
        task: What the labels mean, as for `vk.data.load`: "single_label", "multi_label", "regression", or "auto" to find it.
        image_dir: Of a table, as for `vk.data.load`, as the next four are.
        image_column: Name of the column of image files.
        label_column: Name of the column of labels, or several names.
        label_separator: What stands between several class names in a cell.
        contained: Whether files outside `image_dir` or the table's folder are refused.
        precision: "float32", "mixed_bfloat16", "mixed_float16" or "auto", the fastest here, for a model given by name.
        accept_license: Accepts a license that restricts the use of the weights.
        offline: Uses only cached weights and never downloads; None for what `VIT_KERAS_OFFLINE` says.
        devices: "auto" for all devices of this machine, or how many of them share each batch; the result does not depend on it.
        distribution: "data": every device has all weights; "fsdp": each has a part of them, for models that don't fit otherwise (JAX);
            "none": one device, also where a launcher started several processes.
        run_dir: A folder that does not exist; by default the first free `runs/NAME-1`, `runs/NAME-2`, ..., named by the data.
        resume: Whether to resume the interrupted run in `run_dir`.
        force_resume: Whether to resume under other versions, which may change the last digits of the result.
        tensorboard: Whether to write TensorBoard logs to the run directory.
        callbacks: Keras callbacks in addition to the recipe's.
        console: Where choices and progress are printed; None for stdout.
        **changes: Fields of the recipe to use instead of the chosen values.

    Raises:
        VitKerasError: Something was refused, before training.
        TrainingDivergedError: The loss became NaN or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    prefer_parallel_operations()
    with run_on(devices, distribution):
        console = chief_console(console or standard_console())
        options = RunOptions(
            model=find_word(model),
            data=find_word(data) if validation is None else None,
            weights=None if weights is None else str(weights),
            method=method,
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
            accept_license=accept_license,
            changes=changes,
        )
        run = open_run(run_dir, data, options, resume=resume)
        base = open_base(model, options, offline=offline)
        images = load_data(
            data,
            validation,
            options,
            base.preprocessing,
            batch_size=BATCH_SIZE,
            console=console,
            resumed=run if resume else None,
        )
        if recipe is not None:
            check_recipe_alone(changes=changes, method=None if method == "auto" else method, epochs=epochs, seed=seed)

        def plan(part: ImageData) -> Recipe:
            if recipe is None:
                return plan_recipe(base.model, part, method=method, epochs=epochs, changes=options.recipe_changes)
            return recipe if folds is None else adapt_recipe(recipe, part)

        session = plan_session(
            "finetune",
            base.model,
            images,
            plan,
            folds=folds,
            run=run,
            console=console,
            options=options,
            preprocessing=None if options.model is None else base.preprocessing,
            callbacks=list_callbacks(callbacks, run, tensorboard=tensorboard),
        )
        return session.execute(resume=resume, force=force_resume)
