"""One run that trains a copy of a model, for `finetune` and `train`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from vit_keras import data as data_sources
from vit_keras.config import ViTConfig
from vit_keras.data import EncodedSplit, ImageData, Preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model
from vit_keras.training.callbacks.progress_bar import standard_console
from vit_keras.training.recipes import Recipe
from vit_keras.training.runs.directory import RunDirectory, next_run_directory
from vit_keras.training.runs.session import Session
from vit_keras.weights.digest import digest_weights

BATCH_SIZE = 64


def open_run(run_dir: str | Path | None, name: str, *, resume: bool) -> RunDirectory:
    """Returns the run directory, by default the first free `runs/NAME-1`, `runs/NAME-2`, ..."""
    if resume and run_dir is None:
        raise InvalidArgumentError("To resume a run, give its run_dir.")
    run = next_run_directory(name) if run_dir is None else RunDirectory(Path(run_dir))
    if not resume:
        run.check_free()
    return run


def load_for_model(model: keras.Model, train: Any, validation: Any) -> ImageData:
    """Returns the data, loaded at the input size of a model where they are not an `ImageData` yet."""
    config = model_config(model)
    if isinstance(train, ImageData):
        if validation is not None:
            raise InvalidArgumentError("This ImageData already has a validation split; leave out validation.")
        data = train
    else:
        source = train if validation is None else {"train": train, "validation": validation}
        preprocessing = Preprocessing(image_size=config.image_size, channels=config.channels)
        rates = (0.1, 0.1) if validation is None else (0.1, 0)
        data = data_sources.load(source, preprocessing=preprocessing, split=rates)
    wanted = (*config.image_size, config.channels)
    if data.image_shape != wanted:
        raise InvalidArgumentError(
            f"The images of {data.name} are {data.image_shape} and the model takes {wanted}: load them with "
            f"image_size={config.image_size}, or make the model with image_size={data.image_shape[:2]}."
        )
    return data


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
    console: Console | None,
    options: dict[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
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
            "options": options or {},
            "precision": str(read_model(model).blocks[0].dtype_policy.name),
            "config": config.to_dict(),
            "base": digest_model(model),
            "choices": [[choice.what, choice.value, choice.reason] for choice in recipe.choices],
        },
        build=lambda: model,
        console=console or standard_console(),
        preprocessing=preprocessing or _find_pixel_range(data, config),
        measure=measure,
        callbacks=tuple(callbacks),
    )
    if announce:
        session.print_plan(f"{config.num_params:,} parameters, {config.num_macs / 1e6:,.0f} MMACs per image")
    return session


def _find_pixel_range(data: ImageData, config: ViTConfig) -> Preprocessing | None:
    """Returns the preprocessing to save with the model where its images need a stated pixel range; None for the usual one."""
    split = data.splits["train"]
    stated = split.preprocessing.pixel_range if isinstance(split, EncodedSplit) else None
    if stated is None:
        return None
    return Preprocessing(image_size=config.image_size, channels=config.channels, pixel_range=stated)


def digest_model(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's weights, by which a resumed run recognizes the model it started from."""
    return digest_weights((weight.path, keras.ops.convert_to_numpy(weight)) for weight in model.weights)
