"""Reads images without labels that a program already has: arrays, and data sets of them."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.sources.arrays import ImageReader, find_splits, is_dataset, iterate_elements
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.data.tasks import UNLABELED
from vit_keras.errors import DataError, EmptyDatasetError
from vit_keras.validation import list_words

_IMAGE_KEYS = ("image", "images")  # of the elements of a data set that are mappings
_log = logging.getLogger(__name__)


def is_labeled_pair(source: object) -> bool:
    """Whether a source is a pair of images and labels, and not two images."""
    if not isinstance(source, tuple | list) or len(source) != 2:
        return False
    try:
        images, labels = (np.ndim(each) for each in source)
    except ValueError:  # numpy's, for lists of arrays with different shapes
        return False
    return images in (3, 4) and labels <= 2


def read_image_arrays(
    source: Any, *, preprocessing: Preprocessing | None, seed: int, limit: int | None, pixel_range: Any = "auto"
) -> ImageData:
    """Returns all images of arrays `(count, height, width, channels)`, of data sets of images, or of a mapping of splits to these.

    What stands behind the images in the elements of a data set is ignored. Without a validation split, the data have the training images
    under its name, too: `load_unlabeled` draws one.
    """
    given, decisions = find_splits(source) if isinstance(source, Mapping) else ({"train": source}, ())
    scale = PixelScale(pixel_range)
    readers = {name: ImageReader(name, scale, preprocessing, bounded=is_dataset(part)) for name, part in given.items()}
    for name, part in given.items():
        _read(name, part, readers[name], limit)
    scale.decide()  # after all splits were read
    if not scale.is_plain:
        _log.warning("%s", *scale.decisions)
    splits: dict[str, Split | EncodedSplit] = {}
    for name, reader in readers.items():
        images = reader.images()
        splits[name] = Split(images, np.zeros(len(images), "int32"))
    splits.setdefault("validation", splits["train"])
    return ImageData(
        name="arrays",
        class_names=(),
        splits=splits,
        seed=seed,
        decisions=(*decisions, *scale.decisions),
        task=UNLABELED,
    )


def _read(name: str, part: Any, reader: ImageReader, limit: int | None) -> None:
    if not is_dataset(part):
        if not len(part):
            raise EmptyDatasetError(f"{name}: there are no images.")
        reader.add(part, name)
        return
    count = 0
    for number, element in enumerate(iterate_elements(name, part, limit)):
        place = f"{name}, element {number}"
        images = np.asarray(_find_images(element, place))
        count += reader.add(images[None] if images.ndim == 3 else images, place)
        if limit is not None and count >= limit:
            break
    if not count:
        raise EmptyDatasetError(f"{name}: the data set is empty.")


def _find_images(element: Any, place: str) -> Any:
    if isinstance(element, Mapping):
        found = [key for key in _IMAGE_KEYS if key in element]
        if not found:
            raise DataError(f"{place}: expected the key image, got {list_words(sorted(map(str, element)))}.")
        return element[found[0]]
    return element[0] if isinstance(element, tuple | list) and element else element
