"""Arrays and data sets of the user's own, brought into memory."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import parted
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.images.preprocess import Preprocessing, image_of, pixels
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.data.sources.split_names import decided, named_splits
from vit_keras.errors import ClassLayoutError, DataError, LabelError

_LARGEST_BYTES = 8 * 2**30
_UNDECIDED_BYTES = 2**28  # of a data set's pixels as they come, looked at before their range is decided
_log = logging.getLogger(__name__)


def is_ours_to_read(source: object) -> bool:
    """Whether a source is arrays or a data set: a pair, a mapping of splits, or something to iterate over."""
    return isinstance(source, tuple | list | Mapping) or _is_dataset(source)


def read_arrays(
    source: Any,
    *,
    preprocessing: Preprocessing | None,
    class_names: tuple[str, ...] | None,
    rates: tuple[float, float],
    seed: int,
    limit: int | None,
    pixel_range: Any = "auto",
) -> ImageData:
    """Returns images and labels that a program already has.

    Their pixels are brought to 0..255 by one rule for all splits; the logger `vit_keras.data.sources.arrays` says so where that changes them.

    Args:
        source: `(images, labels)` as arrays, a `tf.data.Dataset` or `keras.utils.PyDataset` of such pairs in batches or one by
            one, or a mapping of "train" and perhaps "validation" and "test" to these.
        preprocessing: How images of other sizes are brought to one; None where all have one.
        class_names: What the labels mean; by default their numbers.
        rates: Fractions of each class held out where a split is missing.
        seed: Decides what is held out.
        limit: Most images read of a data set without end; None for all.
        pixel_range: The values of black and of white; "auto" recognizes 0..255 and 0..1.

    Raises:
        DataError: They are no images, their range is not clear, or they would take more than 8 GiB.
        LabelError: The labels are no whole numbers from 0 up.
    """
    given, decisions = _splits(source) if isinstance(source, Mapping) else ({"train": source}, ())
    scale = PixelScale(pixel_range)
    pixels = {name: _Pixels(name, scale, preprocessing, bounded=_is_dataset(part)) for name, part in given.items()}
    labels_of = {name: _read(part, pixels[name], limit) for name, part in given.items()}
    scale.decide()  # now that all of it was looked at
    pairs = {name: (pixels[name].images()[: len(labels)], labels) for name, labels in labels_of.items()}
    if not scale.is_plain:
        _log.warning("%s", *scale.decisions)
    highest = max(int(labels.max(initial=0)) for _, labels in pairs.values())
    names = class_names if class_names is not None else tuple(str(label) for label in range(highest + 1))
    if class_names is not None and highest < len(names):
        _check_named(class_names, labels_of.values())
    splits: dict[str, Split | EncodedSplit] = {name: Split(images, labels) for name, (images, labels) in pairs.items()}
    missing = tuple(name for name in ("test", "validation") if name not in splits)
    train = splits["train"]
    if train.labels.min(initial=0) >= 0 and highest < len(names):  # else ImageData says what is wrong with them
        places = parted(train.labels, names, missing, rates=rates, seed=seed)
        splits |= {name: train.subset(chosen) for name, chosen in places.items()}
    else:
        splits |= dict.fromkeys(missing, train)
    return ImageData(name="arrays", class_names=names, splits=splits, decisions=(*decisions, *scale.decisions))


def _check_named(class_names: tuple[str, ...], labels: Iterable[np.ndarray]) -> None:
    """Raises `ClassLayoutError` where a name has no images; labels beyond the names are `ImageData`'s to refuse."""
    met = np.unique(np.concatenate(list(labels)))
    without = [name for number, name in enumerate(class_names) if number not in met]
    if without:
        raise ClassLayoutError(
            f"class_names: no image has the label of {without}; the labels that occur are {met.tolist()}."
        )


def _splits(source: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the parts of a source by split, and how their names were understood where that is not plain."""
    found = named_splits([name for name in source if isinstance(name, str)], "These splits")
    if "train" not in found or len(found) < len(source):
        raise DataError(
            f"Splits are called train, validation and test, and train must be there; these are {list(source)}."
        )
    return {split: source[name] for split, name in found.items()}, decided(
        {name: split for split, name in found.items()}, "keys"
    )


def _is_dataset(source: object) -> bool:
    kinds = {(kind.__module__.split(".")[0], kind.__name__) for kind in type(source).__mro__}
    return bool(kinds & {("tensorflow", "DatasetV2"), ("keras", "PyDataset")})


class _Pixels:
    """The images of one split on their way to uint8: as they came, until the range of their pixels is decided.

    Args:
        name: The split.
        scale: Decides the range, for all splits.
        preprocessing: How images of other sizes are brought to one; None where all have one.
        bounded: Whether they may take 8 GiB at most.
    """

    def __init__(self, name: str, scale: PixelScale, preprocessing: Preprocessing | None, *, bounded: bool) -> None:
        self.name, self.scale, self.preprocessing, self.bounded = name, scale, preprocessing, bounded
        self._waiting: list[np.ndarray] = []
        self._scaled: list[np.ndarray] = []

    def add(self, images: Any, name: str) -> int:
        """Takes images, and returns how many they are."""
        array = _checked(name, images)
        self.scale.look(self.name, array, name)
        self._waiting.append(array)
        if self.bounded and sum(each.nbytes for each in self._waiting) > _UNDECIDED_BYTES:
            self.scale.decide()
            self._settle()
        return len(array)

    def images(self) -> np.ndarray:
        """Returns all of them, `(count, height, width, channels)`, uint8."""
        self._settle()
        if len({part.shape[1:] for part in self._scaled}) > 1:
            raise DataError(f"{self.name}: the images have different sizes; give image_size.")
        return self._scaled[0] if len(self._scaled) == 1 else np.concatenate(self._scaled)

    def _settle(self) -> None:
        self._scaled += [_resized(self.scale.apply(each), self.preprocessing) for each in self._waiting]
        self._waiting.clear()
        if self.bounded and sum(each.nbytes for each in self._scaled) > _LARGEST_BYTES:
            raise DataError(
                f"{self.name} is over {_LARGEST_BYTES / 2**30:.0f} GiB in memory: give a smaller image_size or a limit, or pass the "
                "data set to `model.fit` itself."
            )


def _read(part: Any, pixels: _Pixels, limit: int | None) -> np.ndarray:
    """Reads one split's images into `pixels`, and returns its labels."""
    if _is_dataset(part):
        return _collected(part, pixels, limit)
    name = pixels.name
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise DataError(f"{name}: expected a pair of images and labels, not {type(part).__name__}.")
    count, labels = pixels.add(part[0], name), _labels(name, part[1])
    if count != len(labels):
        raise DataError(f"{name}: {count} images and {len(labels)} labels; each image needs one.")
    return labels


def _collected(dataset: Any, pixels: _Pixels, limit: int | None) -> np.ndarray:
    """Reads a data set once, batch by batch, and returns its labels."""
    name, labels = pixels.name, list[np.ndarray]()
    for number, element in enumerate(_elements(name, dataset, limit)):
        if not isinstance(element, tuple | list) or len(element) != 2:
            raise DataError(f"{name}: element {number} is no pair of images and labels but {type(element).__name__}.")
        batch, targets = np.asarray(element[0]), np.asarray(element[1])
        if batch.ndim == 3:
            batch, targets = batch[None], targets[None]
        count = pixels.add(batch, f"{name}, element {number}")
        labels.append(_labels(f"{name}, element {number}", targets))
        if count != len(labels[-1]):
            raise DataError(f"{name}, element {number}: {count} images and {len(labels[-1])} labels.")
        if limit is not None and sum(map(len, labels)) >= limit:
            break
    if not labels:
        raise DataError(f"{name}: the data set is empty.")
    return np.concatenate(labels)[:limit]


def _elements(name: str, dataset: Any, limit: int | None) -> Iterator[Any]:
    """Yields the elements once; a data set that never ends needs a limit."""
    if hasattr(dataset, "as_numpy_iterator"):
        if int(dataset.cardinality()) == -1 and limit is None:  # tf.data.INFINITE_CARDINALITY
            raise DataError(f"{name}: this data set never ends; give a limit.")
        elements: Iterable[Any] = dataset.as_numpy_iterator()
        return iter(elements)
    count = dataset.num_batches
    if count is None and limit is None:
        raise DataError(f"{name}: this data set never ends; give a limit.")
    numbers = itertools.count() if count is None else range(count)
    return (dataset[number] for number in numbers)


def _checked(name: str, images: Any) -> np.ndarray:
    """Returns images as one array `(count, height, width, channels)` of numbers, whatever their range."""
    try:
        array = np.asarray(images)
    except ValueError:  # numpy's, of lists of arrays with different shapes
        array = np.empty(0, dtype=object)
    if array.dtype == object or array.dtype.kind not in "uif":
        raise DataError(
            f"{name}: images must be one array of numbers of shape (count, height, width, channels), not of {array.dtype}; "
            "images of different sizes are read from a folder or a data set with image_size."
        )
    if array.ndim == 3:
        array = array[..., None]  # grey without an axis for it
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        hint = (
            " The channels seem to come first; transpose to (0, 2, 3, 1)."
            if array.ndim == 4 and array.shape[1] in (1, 3)
            else ""
        )
        raise DataError(
            f"{name}: images must have the shape (count, height, width, channels) with 1 or 3 channels, not {array.shape}.{hint}"
        )
    return array


def _resized(array: np.ndarray, preprocessing: Preprocessing | None) -> np.ndarray:
    """Returns images at the size, with the channels they have."""
    if preprocessing is None or array.shape[1:3] == preprocessing.image_size:
        return array
    images = np.empty((len(array), *preprocessing.image_size, array.shape[-1]), "uint8")
    for index, image in enumerate(array):
        images[index] = pixels(preprocessing.apply(image_of(image)))
    return images


def _labels(name: str, labels: Any) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "uif":
        if not ((array == 0) | (array == 1)).all() or not (array.sum(axis=1) == 1).all():
            raise LabelError(f"{name}: labels of shape {array.shape} must be one-hot, a single 1 a row.")
        classes: np.ndarray = array.argmax(axis=1).astype("int32")
        return classes
    array = array.reshape(-1) if array.ndim == 2 else array
    if (
        array.ndim != 1
        or array.dtype.kind not in "uif"
        or (array.dtype.kind == "f" and not (array == np.round(array)).all())
    ):
        raise LabelError(
            f"{name}: labels must be whole numbers from 0 up, one an image, or one-hot rows; these are {array.dtype} of shape "
            f"{array.shape}{f', such as {array.flat[0]!r}' if array.size else ''}."
        )
    return array.astype("int32")
