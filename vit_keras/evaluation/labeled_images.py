"""Finds the labeled images that a model is evaluated on: all of a folder or table, or one of its splits."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.data import EncodedSplit, ImageData, ReadOptions, Split
from vit_keras.data.class_names import are_numbers, rename_classes
from vit_keras.data.loading import find_files, load
from vit_keras.data.sources.arrays import is_in_memory
from vit_keras.data.sources.folder import open_files
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tables.options import TableOptions
from vit_keras.errors import ClassLayoutError, DataError, InvalidArgumentError
from vit_keras.validation import list_words
from vit_keras.zoo.find_model import find_model
from vit_keras.zoo.load_model import OpenModel

_AS_TRAINED = ("seed", "limit", "split")  # options of a run that decide which images were held out
_READING = ReadOptions(max_error_rate=1.0, drop_empty_classes=True, cache="none")
_SHOWN = 20  # class names in a message
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabeledImages:
    """Images with labels as a model's outputs are numbered.

    Args:
        splits: The images; class indices are those of the model.
        row_names: Names of the columns of labels that are rows; empty for class indices, and where the columns have no names.
    """

    splits: tuple[Split | EncodedSplit, ...]
    row_names: tuple[str, ...] = ()

    def image_names(self) -> Iterator[str]:
        """Yields the path of each image, or "image 3" for the fourth of images in memory."""
        place = 0
        for split in self.splits:
            for index in range(len(split)):
                yield split.files.name(index) if isinstance(split, EncodedSplit) else f"image {place}"
                place += 1


def find_run_options(model: keras.Model | str | Path) -> dict[str, Any]:
    """Returns the options that the run of a model was started with; empty for a model that is in no run directory."""
    options = find_run_record(model).get("options")
    return options if isinstance(options, dict) else {}


def find_run_record(model: keras.Model | str | Path) -> dict[str, Any]:
    """Returns what `run.json` says of the run of a model; empty for a model that is in no run directory."""
    path = None if isinstance(model, keras.Model) else find_model(model).path
    file = path.parent / "run.json" if path is not None else None
    if file is None or not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError):
        return {}
    return record if isinstance(record, dict) else {}


def find_labeled(
    data: Any, opened: OpenModel, *, split: str | None, options: Mapping[str, Any], trained: Mapping[str, Any]
) -> LabeledImages:
    """Returns the images that `evaluate` measures a model on.

    Args:
        data: What `vk.data.load` returns or takes, or a `Split`.
        opened: The model.
        split: One of `SPLITS`, "all", or None to choose.
        options: Of `TableOptions`.
        trained: Options of the model's run, which says what it was trained on.
    """
    stated = TableOptions(**options).stated
    if stated and isinstance(data, Split | EncodedSplit | ImageData):
        raise InvalidArgumentError(
            f"{', '.join(stated)}: only for tables of image files, and these data are loaded. Leave it out."
        )
    if isinstance(data, Split | EncodedSplit):
        return LabeledImages(splits=(data,))
    task = opened.task or "auto"
    was_trained_on = _is_same_source(data, trained.get("data"))
    if not isinstance(data, ImageData):
        files = None if isinstance(data, Mapping) else find_files(data)
        if files is not None and not (was_trained_on and split is None):
            whole = _open_whole(files, opened, split, TableOptions(**options, task=task))
            if whole is not None:
                return whole
        if is_in_memory(data) and not isinstance(data, Mapping):  # no split is held out
            data, split = dict.fromkeys(SPLITS, data), "test"
        as_trained = {name: trained[name] for name in _AS_TRAINED if was_trained_on and trained.get(name) is not None}
        data = load(data, preprocessing=opened.preprocessing, task=task, **options, **as_trained)
    rule = opened.preprocessing
    if data.image_shape != rule.image_shape:
        raise InvalidArgumentError(
            f"The images of {data.name} are {data.image_shape} and the model takes {rule.image_shape}: load them with "
            "the model's preprocessing, or pass what vk.data.load takes."
        )
    chosen = list(data.splits) if split == "all" else [split or data.evaluation_split]
    if chosen[0] not in data.splits:
        raise InvalidArgumentError(
            f'{data.name} has no {split} split: pass split="validation" or "all", or other data.'
        )
    return _match([data.splits[name] for name in chosen], data.class_names, data.task, opened, data.name)


def warn_of_trained_images(data: Any, model: keras.Model | str | Path) -> None:
    """Warns where data have the images that a run was trained on. A run on data that were loaded before does not say which it held out."""
    record = find_run_record(model)
    loaded = record.get("data")
    if (
        "data" in find_run_options(model)
        or not isinstance(loaded, dict)
        or not _is_same_source(data, loaded.get("name"))
    ):
        return
    _log.warning(
        "%s: the model was trained on images of these data, which count here, too: the result is too good. Pass what vk.data.load "
        "returned for the training, or name the data when you train: then only images that were held out count.", data
    )  # fmt: skip


def _is_same_source(data: Any, word: Any) -> bool:
    """Whether data are those that a word names."""
    if not isinstance(word, str) or not isinstance(data, str | os.PathLike):
        return False
    return str(data) == word or os.path.realpath(data) == os.path.realpath(word)


def _open_whole(files: Any, opened: OpenModel, split: str | None, tables: TableOptions) -> LabeledImages | None:
    """Returns all images of a folder or tables, or those of a split that they have; None where it has to be drawn."""
    manifest, whole = open_files(files, preprocessing=opened.preprocessing, reading=_READING, tables=tables)
    numbers = manifest.splits
    if split is None:
        split = "test" if (numbers == SPLITS.index("test")).any() else "all"
    places = np.arange(len(numbers)) if split == "all" else np.flatnonzero(numbers == SPLITS.index(split))
    if not len(places):
        if not len(numbers):
            raise DataError(f"{files}: none of the images can be read.")
        return None
    if manifest.quarantined:
        first = manifest.quarantined[0]
        _log.warning(
            "%s: %d of %d files can't be read and are left out, the first %s: %s", files, len(manifest.quarantined),
            len(manifest.quarantined) + len(numbers), first.path, first.reason,
        )  # fmt: skip
    return _match([whole.subset(places)], manifest.class_names, manifest.task, opened, str(files))


def _match(
    splits: list[Split | EncodedSplit], names: tuple[str, ...], task: str, opened: OpenModel, source: str
) -> LabeledImages:
    """Returns images whose class indices are those of the model."""
    if task != "single_label":
        return LabeledImages(splits=tuple(splits), row_names=names)
    indices = _match_classes(names, opened.class_names, source)
    return LabeledImages(splits=tuple(replace(each, labels=indices[each.labels]) for each in splits))


def _match_classes(names: tuple[str, ...], known: tuple[str, ...], source: str) -> np.ndarray:
    """Returns the model's class index of each class of the data."""
    if are_numbers(names) or are_numbers(known):
        return np.arange(len(names), dtype="int32")
    names = rename_classes(names, known)
    check_known(names, known, source)
    places = {name: place for place, name in reversed([*enumerate(known)])}
    return np.array([places[name] for name in names], dtype="int32")


def check_known(names: tuple[str, ...], known: tuple[str, ...], source: str) -> None:
    """Raises `ClassLayoutError` where data have classes that a model lacks."""
    places = set(known)
    unknown = [name for name in names if name not in places]
    if unknown:
        raise ClassLayoutError(
            f"{source} has classes that the model lacks: {_shorten(unknown)}. The model's are {_shorten(known)}."
        )


def _shorten(names: Sequence[str]) -> str:
    """Returns the first names as a list, with their number where there are more."""
    return list_words(names, limit=_SHOWN)
