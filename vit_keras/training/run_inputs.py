"""The model, the data and the options of a run, as objects or by name: what `vk.train` and `vk.finetune` share with the command line."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from vit_keras import data as data_sources
from vit_keras.data import ImageData, Preprocessing
from vit_keras.data.dataset.holdout import check_rates
from vit_keras.data.scan.progress import file_progress
from vit_keras.data.tasks import UNLABELED
from vit_keras.distributed.devices import devices_in_use
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.wiring import read_model
from vit_keras.runtime.precision import dtype_policy, resolve
from vit_keras.runtime.random_state import random_state
from vit_keras.training.recipes import SCRATCH
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.resuming import find_load_keywords, load_as_recorded
from vit_keras.validation import closest, list_words
from vit_keras.zoo.find_model import find_model, model_word
from vit_keras.zoo.load_model import OpenModel, open_model

_DEFAULTS = {"task": "auto", "label_separator": "|"}  # of `vk.data.load`


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that define the result of a run, which `run.json` keeps; None is chosen by the run.

    Args:
        model: The word that names the model; None for a model of a Python program.
        data: The word that names the data; None for data of a Python program.
        weights: A tag or the path of a checkpoint.
        recipe: Of `train`: a recipe's name.
        method: Of `finetune`: a recipe's name, or "auto".
        epochs: Training epochs.
        batch_size: Images per batch.
        limit: Maximum number of images per split.
        folds: Number of folds of a cross-validation.
        split: Fractions of each class for validation and test.
        seed: Of new weights, order, augmentation and splits.
        precision: One of `PRECISIONS`.
        accept_license: Whether a license that restricts use is accepted.
        changes: Fields of the recipe.
        task: As for `vk.data.load`, as the next five are.
        image_dir: Of a table: the folder that relative paths start from.
        image_column: Of a table: the column of image files.
        label_column: Of a table: the column of labels, or several.
        label_separator: Of a table: what separates several labels in a cell.
        contained: Of a table: whether files outside its folder are refused.
    """

    model: str | None = None
    data: str | list[str] | None = None
    weights: str | None = None
    recipe: str | None = None
    method: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    limit: int | None = None
    folds: int | None = None
    split: tuple[float, float] | None = None
    seed: int | None = None
    precision: str | None = None
    accept_license: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    task: str | None = None
    image_dir: str | Path | None = None
    image_column: str | None = None
    label_column: str | Sequence[str] | None = None
    label_separator: str | None = None
    contained: bool | None = None

    def __post_init__(self) -> None:
        if self.image_dir is not None:
            object.__setattr__(self, "image_dir", str(self.image_dir))
        if isinstance(self.label_column, tuple):
            object.__setattr__(self, "label_column", list(self.label_column))  # as run.json has it
        problems = [
            f"{name} must be an integer of at least 1, got {value!r}"
            for name in ("epochs", "batch_size", "limit", "folds")
            if (value := getattr(self, name)) is not None and (type(value) is not int or value < 1)
        ]
        if self.seed is not None and (type(self.seed) is not int or not 0 <= self.seed < 2**31):
            problems.append(f"seed must be an integer from 0 to {2**31 - 1}, got {self.seed!r}")
        checks: list[tuple[Callable[[Any], object], Any]] = [
            (resolve, self.precision), (check_rates, self.split), (find_model, self.model), (_check_scratch_recipe, self.recipe),
        ]  # fmt: skip
        for check, value in checks:
            try:
                if value is not None:
                    check(value)
            except InvalidArgumentError as error:
                problems.append(str(error).rstrip("."))
        if problems:
            raise InvalidArgumentError(f"These options are not valid: {'; '.join(problems)}.")

    @property
    def policy(self) -> str:
        """The dtype policy of the precision."""
        return resolve(self.precision or "auto")

    @property
    def load_keywords(self) -> dict[str, Any]:
        """The keywords of `vk.data.load` for labels and tables."""
        return find_load_keywords(vars(self))

    @property
    def recipe_changes(self) -> dict[str, Any]:
        """Fields of the recipe to use instead of its values."""
        return self.changes if self.seed is None else {**self.changes, "seed": self.seed}

    def to_dict(self) -> dict[str, Any]:
        """Returns the options that were given."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value is not None and value is not False and value != {} and value != _DEFAULTS.get(name)  # 0 is a value
        }


def _check_scratch_recipe(name: str) -> None:
    if name not in SCRATCH:
        raise InvalidArgumentError(
            f"recipe={name!r} is not a recipe for random weights; the closest are {list_words(closest(name, SCRATCH))}, and all are "
            f"{', '.join(SCRATCH)}. To train a pretrained model, use finetune."
        )


def check_unlabeled(data: ImageData) -> None:
    """Raises `InvalidArgumentError` for images without labels."""
    if data.task == UNLABELED:
        raise InvalidArgumentError(
            f"{data.name} has no labels, so there is nothing to learn from them: vk.pretrain learns from images alone, or load the data with "
            "labels by vk.data.load."
        )


def find_word(source: Any) -> str | None:
    """Returns the word that names a model or data again; None for an object."""
    if isinstance(source, str):
        return source
    return model_word(Path(source)) if isinstance(source, os.PathLike) else None


def open_base(model: keras.Model | str | Path, options: RunOptions, *, offline: bool | None = None) -> OpenModel:
    """Returns the model that a run starts from, with its preprocessing; by name in the precision and with the seed of the options."""
    with random_state(options.seed or 0), dtype_policy(options.policy):
        opened = open_model(
            model, weights=options.weights, accept_license=options.accept_license, offline=offline, allow_random=True
        )
    check_precision(opened.model, options)
    return opened


def check_precision(model: keras.Model, options: RunOptions) -> None:
    """Raises `InvalidArgumentError` where a model that exists already computes in another precision than was asked for."""
    own = read_model(model).blocks[0].dtype_policy.name
    if options.precision not in (None, "auto", own):
        raise InvalidArgumentError(
            f"precision={options.precision!r}: this model computes in {own}, as it was made. Name the model, such as "
            '"vit_tiny_patch16_224" or the path of a preset directory, or make it under keras.config.set_dtype_policy.'
        )


def load_data(
    source: Any,
    validation: Any,
    options: RunOptions,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    console: Console,
    resumed: RunDirectory | None = None,
) -> ImageData:
    """Returns the data as a model takes it; `batch_size` is the largest to choose, `resumed` the run whose order of classes is kept."""
    if isinstance(source, ImageData):
        if validation is not None:
            raise InvalidArgumentError("This ImageData already has a validation split; leave out validation.")
        check_unlabeled(source)
        data = source if options.batch_size is None else replace(source, batch_size=options.batch_size)
        data = data if options.limit is None else data.limit(options.limit)
    else:
        splits = source if validation is None else {"train": source, "validation": validation}
        rates = (0.1, 0.1) if validation is None else (0.1, 0)

        def load(class_names: tuple[str, ...] | None) -> ImageData:
            with file_progress(console) as on_progress:  # while files are checked for the first time
                return data_sources.load(
                    splits,
                    preprocessing=preprocessing,
                    batch_size=options.batch_size or batch_size,
                    limit=options.limit,
                    seed=options.seed or 0,
                    split=check_rates(options.split or rates),
                    class_names=class_names,
                    **options.load_keywords,
                    on_progress=on_progress,
                )

        is_named = find_word(source) is not None and validation is None
        data = load_as_recorded(load, resumed) if resumed is not None and is_named else load(None)
        if options.batch_size is None:
            data = data.fit_batch_size(batch_size)
    if options.batch_size is None and not isinstance(source, ImageData):
        data = replace(data, batch_size=devices_in_use().fit_batch(data.batch_size))
    devices_in_use().check_batch(data.batch_size)
    wanted = preprocessing.image_shape
    if data.image_shape != wanted:
        raise InvalidArgumentError(
            f"The images of {data.name} are {data.image_shape} and the model takes {wanted}: load them with "
            + (
                f"preprocessing=vk.data.{preprocessing!r}.replace(patch_size={preprocessing.patch_size}, "
                f"max_num_patches={preprocessing.max_num_patches})."
                if preprocessing.packs
                else f"image_size={preprocessing.image_size}, or make the model with image_size={data.image_shape[:2]}."
            )
        )
    return data
