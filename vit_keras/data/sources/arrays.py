"""Reads arrays and data sets that a program already has."""

import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import describe_splits_drawn, split_indices
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.mapped_images import MappedImages, find_map
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.images.preprocess import Preprocessing, to_image, to_pixels
from vit_keras.data.sources.array_labels import are_texts, count_names, encode_texts, read_labels, unify_labels
from vit_keras.data.sources.pixel_range import BYTES, PixelScale
from vit_keras.data.split_names import describe_splits, match_splits
from vit_keras.data.tasks import default_names
from vit_keras.errors import ClassLayoutError, DataError, LabelError
from vit_keras.reporting.text import plural
from vit_keras.validation import hint_channels, list_words

_LARGEST_BYTES = 8 * 2**30
_UNDECIDED_BYTES = 2**28  # of a data set's unscaled pixels that are kept before their range is decided
_log = logging.getLogger(__name__)


def is_in_memory(source: object) -> bool:
    """Whether a source is a pair of arrays, a mapping of splits, or a data set."""
    return isinstance(source, tuple | list | Mapping) or is_dataset(source)


def read_arrays(
    source: Any,
    *,
    preprocessing: Preprocessing | None,
    class_names: tuple[str, ...] | None,
    rates: tuple[float, float],
    seed: int,
    limit: int | None,
    pixel_range: Any = "auto",
    task: str = "auto",
    label_separator: str = "|",
) -> ImageData:
    """Returns images and labels in memory, scaled to 0..255 by one rule for all splits; scaling is also logged as a warning."""
    given, decisions = find_splits(source) if isinstance(source, Mapping) else ({"train": source}, ())
    scale = PixelScale(pixel_range)
    readers = {name: ImageReader(name, scale, preprocessing, bounded=is_dataset(part)) for name, part in given.items()}
    labels = {name: _read(part, readers[name], limit) for name, part in given.items()}
    if are_texts(labels):
        labels, task, class_names, about_labels = encode_texts(
            labels, task=task, class_names=class_names, separator=label_separator
        )
    else:
        labels, task, about_labels = unify_labels(labels, task=task, class_names=class_names)
    scale.decide()  # after all splits were read
    splits: dict[str, Split | EncodedSplit] = {
        name: _make_split(readers[name].images(), labels[name]) for name in given
    }
    if not scale.is_plain:
        _log.warning("%s", *scale.decisions)
    count = count_names(labels, task)
    names = class_names if class_names is not None else default_names(task, count)
    if class_names is not None and (task != "single_label" or count <= len(names)):
        _check_named(class_names, labels, task)
    missing = tuple(name for name in ("test", "validation") if name not in splits)
    train = splits["train"]
    if task != "single_label" or (train.labels.min(initial=0) >= 0 and count <= len(names)):
        if task == "single_label" and len(names) < 2:
            raise ClassLayoutError(f"arrays: at least two classes are needed, found {list_words(names)}.")
        places = split_indices(train.labels, names, missing, rates=rates, seed=seed)
        decisions += describe_splits_drawn(train.labels, names, places, missing)
        splits |= {name: train.subset(chosen) for name, chosen in places.items()}
    else:  # ImageData reports the illegal labels
        splits |= dict.fromkeys(missing, train)
    decisions = (*decisions, *about_labels, *scale.decisions)
    return ImageData(name="arrays", class_names=names, splits=splits, decisions=decisions, task=task)


def _make_split(images: np.ndarray | MappedImages, labels: np.ndarray) -> Split:
    """Returns a split of as many images as there are labels."""
    if isinstance(images, MappedImages):
        return Split(images.subset(np.arange(len(labels))), labels)
    return Split(images[: len(labels)], labels)


def _check_named(class_names: tuple[str, ...], labels: Mapping[str, np.ndarray], task: str) -> None:
    if task != "single_label":
        count = count_names(labels, task)
        if count != len(class_names):
            raise ClassLayoutError(
                f"class_names: {len(class_names)} names for labels with {count} columns; expected one name per column."
            )
        return
    present = np.unique(np.concatenate(list(labels.values())))
    without = [name for number, name in enumerate(class_names) if number not in present]
    if without:
        raise ClassLayoutError(
            f"class_names: no image has the label of {list_words(without)}; the labels of the images are {list_words(present)}."
        )


def find_splits(source: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the parts of a mapping by split, and how its keys were understood."""
    found = match_splits([name for name in source if isinstance(name, str)], "These splits")
    if "train" not in found or len(found) < len(source):
        raise DataError(
            f"A mapping of splits has the keys train, validation and test, of which train is required; got {list_words(source)}."
        )
    decisions = describe_splits({name: split for split, name in found.items()}, "keys")
    return {split: source[name] for split, name in found.items()}, decisions


def is_dataset(source: object) -> bool:
    """Whether a source is a `tf.data.Dataset` or a `keras.utils.PyDataset`."""
    kinds = {(kind.__module__.split(".")[0], kind.__name__) for kind in type(source).__mro__}
    return bool(kinds & {("tensorflow", "DatasetV2"), ("keras", "PyDataset")})


class ImageReader:
    """Collects the images of one split: unscaled until the pixel range is decided, then resized uint8.

    `images` returns them after `add` was called for all of them; `bounded` limits the memory that a data set may take.
    """

    def __init__(self, name: str, scale: PixelScale, preprocessing: Preprocessing | None, *, bounded: bool) -> None:
        self.name, self.scale, self.bounded = name, scale, bounded
        # `ImageData.resize` packs images, which have one size here.
        self.preprocessing = None if preprocessing is not None and preprocessing.packs else preprocessing
        self._unscaled: list[np.ndarray] = []
        self._scaled: list[np.ndarray] = []

    def add(self, images: Any, name: str) -> int:
        """Adds an array of images, named `name` in messages, and returns their number."""
        array = _check_images(name, images)
        self.scale.look(self.name, array, name)
        self._unscaled.append(array)
        if self.bounded and sum(each.nbytes for each in self._unscaled) > _UNDECIDED_BYTES:
            self.scale.decide()
            self._scale()
        return len(array)

    def images(self) -> np.ndarray | MappedImages:
        """Returns all images, `(count, height, width, channels)`, uint8; those of a memory-mapped array stay on disk."""
        if len(self._unscaled) == 1 and not self.bounded and find_map(self._unscaled[0]):
            array, decided = self._unscaled[0], self.scale.decide()
            is_plain = array.dtype == np.uint8 and decided == BYTES
            rule = self.preprocessing
            if rule is not None and rule.channels != array.shape[-1]:
                rule = rule.replace(channels=array.shape[-1])  # converted by `ImageData.resize`, as other arrays are
            same = rule is None or rule.image_size == array.shape[1:3]
            return MappedImages(
                array=array,
                rows=np.arange(len(array)),
                pixel_range=None if is_plain else decided,
                preprocessing=None if same else rule,
            )
        self._scale()
        if len({part.shape[1:] for part in self._scaled}) > 1:
            raise DataError(f"{self.name}: the images have different sizes; pass image_size.")
        return self._scaled[0] if len(self._scaled) == 1 else np.concatenate(self._scaled)

    def _scale(self) -> None:
        self._scaled += [_resize(self.scale.apply(each), self.preprocessing) for each in self._unscaled]
        self._unscaled.clear()
        if self.bounded and sum(each.nbytes for each in self._scaled) > _LARGEST_BYTES:
            raise DataError(
                f"{self.name} takes over {_LARGEST_BYTES / 2**30:.0f} GiB in memory: pass a smaller image_size or a limit, or pass "
                "the data set to `model.fit` itself."
            )


def _read(part: Any, reader: ImageReader, limit: int | None) -> np.ndarray:
    if is_dataset(part):
        return _read_dataset(part, reader, limit)
    name = reader.name
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise DataError(f"{name}: expected a pair (images, labels), got {type(part).__name__}.")
    count, labels = reader.add(part[0], name), read_labels(name, part[1])
    if count != len(labels):
        raise DataError(
            f"{name}: {plural(count, 'image')} and {plural(len(labels), 'label')}; expected one label per image."
        )
    return labels


def _read_dataset(dataset: Any, reader: ImageReader, limit: int | None) -> np.ndarray:
    name, labels = reader.name, list[np.ndarray]()
    for number, element in enumerate(iterate_elements(name, dataset, limit)):
        place = f"{name}, element {number}"
        if not isinstance(element, tuple | list) or len(element) != 2:
            raise DataError(f"{place}: expected a pair (images, labels), got {type(element).__name__}.")
        batch, targets = np.asarray(element[0]), np.asarray(element[1])
        if batch.ndim == 3:
            batch, targets = batch[None], targets[None]
        count = reader.add(batch, place)
        labels.append(read_labels(place, targets))
        if count != len(labels[-1]):
            raise DataError(f"{place}: {plural(count, 'image')} and {plural(len(labels[-1]), 'label')}.")
        if limit is not None and sum(map(len, labels)) >= limit:
            break
    if not labels:
        raise DataError(f"{name}: the data set is empty.")
    if len({each.shape[1:] for each in labels}) > 1:
        raise LabelError(
            f"{name}: the labels of the batches differ in shape: {sorted({each.shape[1:] for each in labels})}."
        )
    return np.concatenate(labels)[:limit]


def iterate_elements(name: str, dataset: Any, limit: int | None) -> Iterator[Any]:
    """Returns an iterator over the elements of a data set; an infinite one needs a limit."""
    is_tf = hasattr(dataset, "as_numpy_iterator")
    count = int(dataset.cardinality()) if is_tf else dataset.num_batches
    if count in (-1, None) and limit is None:  # -1 is tf.data.INFINITE_CARDINALITY
        raise DataError(f"{name}: this data set is infinite; pass a limit.")
    if is_tf:
        elements: Iterator[Any] = dataset.as_numpy_iterator()
        return elements
    return (dataset[number] for number in (itertools.count() if count is None else range(count)))


def _check_images(name: str, images: Any) -> np.ndarray:
    try:
        array = np.asarray(images)
    except ValueError:  # numpy's, for lists of arrays with different shapes
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "uif":
        instead = "Images of different sizes are read from a folder or a data set, with image_size."
        if array.dtype.kind in "UO" and all(isinstance(each, str | Path) for each in array.flat) and array.size:
            instead = 'Files and their labels are read from a table: pandas.DataFrame({"path": files, "label": labels}), with image_size.'
        raise DataError(
            f"{name}: images must be one numeric array of shape (count, height, width, channels), got {array.dtype}. {instead}"
        )
    if array.ndim == 3:
        array = array[..., None]  # (count, height, width), gray
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise DataError(
            f"{name}: images must have the shape (count, height, width, channels) with 1 or 3 channels, got {array.shape}."
            + hint_channels(array.shape)
        )
    return array


def _resize(array: np.ndarray, preprocessing: Preprocessing | None) -> np.ndarray:
    if preprocessing is None or array.shape[1:3] == preprocessing.image_size:
        return array
    images = np.empty((len(array), *preprocessing.image_size, array.shape[-1]), "uint8")
    for index, image in enumerate(array):
        images[index] = to_pixels(preprocessing.apply(to_image(image)))
    return images
