"""One run that trains a copy of a model, for `finetune` and `train`."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from vit_keras.config import ViTConfig
from vit_keras.data import EncodedSplit, ImageData, Preprocessing
from vit_keras.data.images.preprocess import default_preprocessing
from vit_keras.data.tasks import describe_count
from vit_keras.distributed.agreement import check_agreement
from vit_keras.distributed.cluster import broadcast, is_chief
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model
from vit_keras.runtime.environment import versions
from vit_keras.training.recipes import Recipe
from vit_keras.training.run_inputs import RunOptions
from vit_keras.training.runs.directory import RunDirectory, next_run_directory
from vit_keras.training.runs.resuming import check_options
from vit_keras.training.runs.session import Session
from vit_keras.weights.digest import digest_weights


def open_run(
    run_dir: str | Path | None, data: Any, options: RunOptions, *, resume: bool, prefix: str = ""
) -> RunDirectory:
    """Returns the run directory: a free one, named by the data unless it is given, or that of a run with the same options."""
    if resume and run_dir is None:
        raise InvalidArgumentError("To resume a run, give its run_dir.")
    check_agreement(
        {
            "options": options.to_dict(),
            "run_dir": None if run_dir is None else str(run_dir),
            "resume": resume,
            **versions(),
        }
    )
    if run_dir is None:
        first = options.data[0] if isinstance(options.data, list) else options.data
        free = next_run_directory(first or str(getattr(data, "name", "arrays")), prefix=prefix)
        return RunDirectory(Path(broadcast(str(free.path))))
    run = RunDirectory(Path(run_dir))
    if resume:
        run.check_shared()
        check_options(run, options.to_dict())
    else:
        with share_errors():  # it is free for all, before one creates it
            run.check_free()
    return run


def list_callbacks(
    callbacks: Sequence[keras.callbacks.Callback], run: RunDirectory, *, tensorboard: bool
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a user, and TensorBoard's where it is asked for."""
    folder = run.path / "tensorboard" if is_chief() else Path(tempfile.mkdtemp())  # the others have the same callbacks
    logs = [keras.callbacks.TensorBoard(str(folder))] if tensorboard else []
    return [*callbacks, *logs]


def check_recipe_alone(*, changes: dict[str, Any], **options: Any) -> None:
    """Raises `InvalidArgumentError` where a complete recipe is given together with options that would make one."""
    given = [*changes, *(name for name, value in options.items() if value is not None)]
    if given:
        raise InvalidArgumentError(f"The recipe already sets {', '.join(given)}; change it with recipe.replace(...).")


def model_session(
    command: str,
    model: keras.Model,
    data: ImageData,
    recipe: Recipe,
    *,
    run: RunDirectory,
    console: Console,
    options: RunOptions,
    preprocessing: Preprocessing | None,
    measure: Callable[[], dict[str, float]] = dict,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    announce: bool = True,
) -> Session:
    """Returns a run that trains a copy of a model, after printing its plan (`announce`)."""
    config = model_config(model)
    session = Session(
        run=run,
        data=recipe.seeded(data),
        recipe=recipe,
        record={
            "command": command,
            "options": options.to_dict(),
            "precision": str(read_model(model).blocks[0].dtype_policy.name),
            "config": config.to_dict(),
            "base": digest_model(model),
            "choices": [[choice.what, choice.value, choice.reason] for choice in recipe.choices],
        },
        build=lambda: model,
        console=console,
        preprocessing=find_preprocessing(data, config, preprocessing),
        measure=measure,
        callbacks=tuple(callbacks),
    )
    name = "" if options.model is None else f"{options.model}: "
    if announce:
        session.print_plan(
            f"{name}{config.num_params:,} parameters, {config.num_macs / 1e6:,.0f} MMACs per image",
            images=describe_count(data.task, len(data.class_names)),
        )
    return session


def find_preprocessing(data: ImageData, config: ViTConfig, preprocessing: Preprocessing | None) -> Preprocessing | None:
    """Returns the preprocessing to save with the model, with the pixel range that was stated for its images."""
    split = data.splits["train"]
    stated = split.preprocessing.pixel_range if isinstance(split, EncodedSplit) else None
    if stated is None:
        return preprocessing
    usual = preprocessing or default_preprocessing(config)
    return usual.replace(pixel_range=stated)


def digest_model(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's weights, by which a resumed run recognizes the model it started from."""
    return digest_weights((weight.path, keras.ops.convert_to_numpy(weight)) for weight in model.weights)
