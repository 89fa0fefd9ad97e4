"""The images that an export is checked on, and that static int8 is calibrated with."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data import EncodedSplit, ImageData, Split
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.errors import InvalidArgumentError, VitKerasError
from vit_keras.evaluation.images import list_images
from vit_keras.evaluation.labeled_images import find_labeled, find_run_options
from vit_keras.zoo.load_model import OpenModel

_TABLE_OPTIONS = ("image_dir", "image_column", "label_column", "label_separator", "contained")
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_SEED = 0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckImages:
    """Images at a model's size.

    Args:
        images: `(count, height, width, channels)`, uint8, 0..255; none where no real ones are known.
        labels: One per image, as `Split.labels`; None where they are unknown.
        source: Where they come from, for messages.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.images)


def find_check_images(source: Any, opened: OpenModel, calibration: Any, *, limit: int) -> CheckImages:
    """Returns images to check on: those of `calibration`, else of the validation split of the model's run, else none.

    Args:
        source: The model as the user named it.
        opened: The model.
        calibration: What `vk.evaluate` takes as data, or `vk.predict` as images; None for the run's.
        limit: Maximum number of images; of more, a random choice with a fixed seed.

    Raises:
        InvalidArgumentError: There are no images in it, or it is neither data nor images.
        DataError: The data can't be read.
    """
    if calibration is None:
        trained = find_run_options(source)
        if trained.get("data") is None:
            return _no_images(opened)
        try:
            return _find_validation(opened, trained, limit)
        except VitKerasError as error:  # the data were moved or changed, which is no reason not to export the model
            _log.warning("the images that the run was trained on can't be read, so random ones are used: %s", error)
            return _no_images(opened)
    if isinstance(calibration, tuple | list) and (not calibration or not len(np.atleast_1d(calibration[0]))):
        raise InvalidArgumentError("calibration has no images, and at least one is needed; None uses those of the run.")
    if _is_labeled(calibration):
        split = "all" if isinstance(calibration, tuple) else None
        found = find_labeled(calibration, opened, split=split, options={}, trained=find_run_options(source))
        return _gather(found.splits, opened, limit, "calibration")
    return _read_unlabeled(calibration, opened, limit)


def _find_validation(opened: OpenModel, trained: Mapping[str, Any], limit: int) -> CheckImages:
    """Returns validation images of the data that a run was trained on, given the run's options."""
    options = {name: trained[name] for name in _TABLE_OPTIONS if trained.get(name)}
    found = find_labeled(trained["data"], opened, split="validation", options=options, trained=trained)
    return _gather(found.splits, opened, limit, f"the validation images of {trained['data']}")


def _no_images(opened: OpenModel) -> CheckImages:
    return CheckImages(images=np.zeros((0, *_shape(opened)), "uint8"))


def random_images(opened: OpenModel, count: int, *, seed: int = _SEED) -> np.ndarray:
    """Returns random uint8 pixels at the model's size."""
    return np.random.default_rng(seed).integers(0, 256, (count, *_shape(opened)), "uint8")


def _shape(opened: OpenModel) -> tuple[int, int, int]:
    return opened.preprocessing.image_shape


def _is_labeled(calibration: Any) -> bool:
    """Whether these are data with labels: loaded ones, arrays of images and labels, a data set's name, a table, or a folder of class folders."""
    if isinstance(calibration, Split | EncodedSplit | ImageData | Mapping):
        return True
    if isinstance(calibration, tuple) and len(calibration) == 2:
        return all(hasattr(each, "shape") and hasattr(each, "dtype") for each in calibration)
    if not isinstance(calibration, str | Path):
        return False
    path = Path(calibration)
    return (
        not path.exists()
        or path.suffix.lower() in _TABLES
        or (path.is_dir() and any(each.is_dir() for each in path.iterdir()))
    )


def _gather(splits: tuple[Split | EncodedSplit, ...], opened: OpenModel, limit: int, source: str) -> CheckImages:
    total, wanted = sum(map(len, splits)), _shape(opened)
    other = next((split.image_shape for split in splits if split.image_shape != wanted), None)
    if other is not None:
        raise InvalidArgumentError(
            f"{source}: the images are {other} and the model takes {wanted}: load them with the model's preprocessing."
        )
    if not total:
        raise InvalidArgumentError(f"{source}: there are no images in it, and at least one is needed.")
    chosen = _choose(total, limit)
    images, labels, first = [], [], 0
    for split in splits:
        places = chosen[(chosen >= first) & (chosen < first + len(split))] - first
        first += len(split)
        if len(places):
            images.append(np.stack([split.image(int(place)) for place in places]))
            labels.append(split.labels[places])
    return CheckImages(images=np.concatenate(images), labels=np.concatenate(labels), source=source)


def _read_unlabeled(calibration: Any, opened: OpenModel, limit: int) -> CheckImages:
    listed = list_images(calibration)
    chosen = [listed[index] for index in _choose(len(listed), limit)]
    scale = PixelScale("auto")
    for image in chosen:
        if isinstance(image.content, np.ndarray):
            scale.look("images", image.content[None], image.name)
    scale.decide()
    return CheckImages(
        images=np.stack([image.load(opened.preprocessing, scale) for image in chosen]), source="calibration"
    )


def _choose(total: int, limit: int) -> np.ndarray:
    if total <= limit:
        return np.arange(total)
    return np.sort(np.random.default_rng(_SEED).choice(total, limit, replace=False))
