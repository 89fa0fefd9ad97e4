"""Arrays and data sets of the user's own, brought into memory."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vit_keras.data.dataset import ImageData
from vit_keras.data.holding_out import parted
from vit_keras.data.resizing import Resizing, image_of, pixels
from vit_keras.data.splits import EncodedSplit, Split
from vit_keras.errors import DataError, LabelError

_LARGEST_BYTES = 8 * 2**30
_SPLITS = ("train", "validation", "test")


def is_ours_to_read(source: object) -> bool:
    """Whether a source is arrays or a data set: a pair, a mapping of splits, or something to iterate over."""
    return isinstance(source, tuple | list | Mapping) or _is_dataset(source)


def read_arrays(
    source: Any,
    *,
    resizing: Resizing | None,
    class_names: tuple[str, ...] | None,
    rates: tuple[float, float],
    seed: int,
    limit: int | None,
) -> ImageData:
    """Returns images and labels that a program already has.

    Args:
        source: `(images, labels)` as arrays, a `tf.data.Dataset` or `keras.utils.PyDataset` of such pairs in batches or one by
            one, or a mapping of "train" and perhaps "validation" and "test" to these.
        resizing: How images of other sizes are brought to one; None where all have one.
        class_names: What the labels mean; by default their numbers.
        rates: Fractions of each class held out where a split is missing.
        seed: Decides what is held out.
        limit: Most images read of a data set without end; None for all.

    Raises:
        DataError: They are no images, or would take more than 8 GiB.
        LabelError: The labels are no whole numbers from 0 up.
    """
    given = dict(source) if isinstance(source, Mapping) else {"train": source}
    if "train" not in given or not set(given) <= set(_SPLITS):
        raise DataError(
            f"Splits are called train, validation and test, and train must be there; these are {list(given)}."
        )
    pairs = {name: _pair(name, part, resizing, limit) for name, part in given.items()}
    highest = max(int(labels.max(initial=0)) for _, labels in pairs.values())
    names = class_names if class_names is not None else tuple(str(label) for label in range(highest + 1))
    splits: dict[str, Split | EncodedSplit] = {name: Split(images, labels) for name, (images, labels) in pairs.items()}
    missing = tuple(name for name in ("test", "validation") if name not in splits)
    train = splits["train"]
    if train.labels.min(initial=0) >= 0 and highest < len(names):  # else ImageData says what is wrong with them
        places = parted(train.labels, names, missing, rates=rates, seed=seed)
        splits |= {name: train.subset(chosen) for name, chosen in places.items()}
    else:
        splits |= dict.fromkeys(missing, train)
    return ImageData(name="arrays", class_names=names, splits=splits)


def _is_dataset(source: object) -> bool:
    kinds = {(kind.__module__.split(".")[0], kind.__name__) for kind in type(source).__mro__}
    return bool(kinds & {("tensorflow", "DatasetV2"), ("keras", "PyDataset")})


def _pair(name: str, part: Any, resizing: Resizing | None, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    if _is_dataset(part):
        return _collected(name, part, resizing, limit)
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise DataError(f"{name}: expected a pair of images and labels, not {type(part).__name__}.")
    images, labels = _images(name, part[0], resizing), _labels(name, part[1])
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images)} images and {len(labels)} labels; each image needs one.")
    return images, labels


def _collected(name: str, dataset: Any, resizing: Resizing | None, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Reads a data set once, batch by batch, into memory."""
    images, labels, taken = [], [], 0
    for number, element in enumerate(_elements(name, dataset, limit)):
        if not isinstance(element, tuple | list) or len(element) != 2:
            raise DataError(f"{name}: element {number} is no pair of images and labels but {type(element).__name__}.")
        batch, targets = np.asarray(element[0]), np.asarray(element[1])
        if batch.ndim == 3:
            batch, targets = batch[None], targets[None]
        images.append(_images(f"{name}, element {number}", batch, resizing))
        labels.append(_labels(f"{name}, element {number}", targets))
        if len(images[-1]) != len(labels[-1]):
            raise DataError(f"{name}, element {number}: {len(images[-1])} images and {len(labels[-1])} labels.")
        taken += images[-1].nbytes
        if taken > _LARGEST_BYTES:
            raise DataError(
                f"{name} is over {_LARGEST_BYTES / 2**30:.0f} GiB in memory: give a smaller image_size or a limit, or pass the data set "
                "to `model.fit` itself."
            )
        if limit is not None and sum(map(len, labels)) >= limit:
            break
    if not images:
        raise DataError(f"{name}: the data set is empty.")
    if len({part.shape[1:] for part in images}) > 1:
        raise DataError(f"{name}: the images have different sizes; give image_size.")
    return np.concatenate(images)[:limit], np.concatenate(labels)[:limit]


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


def _images(name: str, images: Any, resizing: Resizing | None) -> np.ndarray:
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
    return _resized(_as_bytes(name, array), resizing)


def _as_bytes(name: str, array: np.ndarray) -> np.ndarray:
    """Returns pixels 0..255 as uint8; what was scaled or is no number is refused."""
    if array.dtype == np.uint8 or not array.size:
        return array.astype("uint8")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        places = np.argwhere(~np.isfinite(array))
        raise DataError(f"{name}: {len(places)} pixels are NaN or infinite, the first in image {places[0][0]}.")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 255 or (array.dtype.kind == "f" and high <= 1 and high > 0):
        raise DataError(
            f"{name}: pixels run from {low:g} to {high:g}, but are expected from 0 to 255; undo the scaling, which the model does itself."
        )
    return np.round(array).astype("uint8")


def _resized(array: np.ndarray, resizing: Resizing | None) -> np.ndarray:
    """Returns images at the size, with the channels they have."""
    if resizing is None or array.shape[1:3] == resizing.image_size:
        return array
    images = np.empty((len(array), *resizing.image_size, array.shape[-1]), "uint8")
    for index, image in enumerate(array):
        images[index] = pixels(resizing.apply(image_of(image)))
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
