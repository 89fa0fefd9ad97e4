"""Finds a data set by its name, folder or object."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import checked_rates, hold_out
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.images.preprocess import Preprocessing, image_of, pixels
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.sources.arrays import is_ours_to_read, read_arrays
from vit_keras.data.sources.class_names import checked_names
from vit_keras.data.sources.folder import read_folder
from vit_keras.data.sources.pixel_range import BYTES, checked_range
from vit_keras.data.sources.tfds import builder_of, read_tfds
from vit_keras.errors import DataError, InvalidArgumentError

UNSEEN_STYLE = "twemoji"
"""The drawing style that is the emoji set's test split and no part of its training."""
KERAS_NAMES = ("cifar10", "cifar100", "fashion_mnist", "mnist")
"""Data sets that `keras.datasets` downloads, or finds in Keras' home folder."""
TFDS = "tfds:"


def load(
    source: Any,
    *,
    image_size: int | tuple[int, int] | Preprocessing | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    seed: int = 0,
    split: tuple[float, float] = (0.1, 0.1),
    reading: ReadOptions | None = None,
    pixel_range: str | tuple[float, float] = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Returns training, validation and test images with their class names.

    Args:
        source: "emoji", the embedded set: 8 groups of emoji, five drawing styles to train on and a sixth, never seen, to test;
            a name of `KERAS_NAMES`; a folder of class folders, or of train, validation and test folders of those; a CSV
            file with the columns path and label; any TensorFlow Datasets name, as "tfds:oxford_iiit_pet", or builder; arrays
            `(images, labels)`, a `tf.data.Dataset` or `keras.utils.PyDataset` of such pairs, or a mapping of splits to these.
            A folder named as one of the sets is meant with a slash: "./emoji".
        image_size: Height and width all images are brought to, px, or the whole rule (`preset_preprocessing` a preset); by default as
            they are. Image files need it.
        channels: 1 or 3; by default as they are, and 3 for image files.
        class_names: The classes in the order of the labels, which is the order of a model's logits: what the labels of arrays
            mean, or the names that other sources have, in another order. By default numbers are sorted as numbers and other
            names as text.
        batch_size: Images a batch.
        limit: Most images of each split, drawn by seed; None for all.
        seed: Decides what is held out for validation, the limit, and the order of the training images.
        split: Fractions of each class held out for validation and for the test, where the source does not have these splits.
        reading: What becomes of files that can't be used, and where decoded images are kept.
        pixel_range: The values that stand for black and for white in arrays and data sets, such as (0, 1) or (-1, 1); "auto"
            recognizes 0..255 and 0..1, decides once for all splits, and refuses what is not clear. uint8 is 0..255.
        on_progress: Called with the files checked and all there are, the first time a folder is read.

    Raises:
        DataError: There is no such source, or it cannot be used.

    Example:
        >>> data = load("emoji", batch_size=32)
        >>> data.sizes
        {'train': 5552, 'validation': 616, 'test': 1629}
    """
    size = image_size.image_size if isinstance(image_size, Preprocessing) else _checked_size(image_size)
    _check_arguments(channels=channels, batch_size=batch_size, limit=limit, seed=seed)
    rates, reading, names = checked_rates(split), reading or ReadOptions(), checked_names(class_names)

    def rule(own_channels: int) -> Preprocessing | None:
        if isinstance(image_size, Preprocessing):
            return image_size
        return None if size is None else Preprocessing(image_size=size, channels=channels or own_channels)

    if is_ours_to_read(source):
        data = read_arrays(
            source, preprocessing=rule(3), class_names=names, rates=rates, seed=seed, limit=limit, pixel_range=pixel_range,
        )  # fmt: skip
    elif checked_range(pixel_range) not in (None, BYTES):
        raise InvalidArgumentError(
            f"pixel_range={pixel_range!r} is of arrays and data sets in memory; image files are read as 0..255 by their own depth."
        )
    else:
        data = _named(
            source,
            rule,
            class_names=names,
            rates=rates,
            seed=seed,
            limit=limit,
            reading=reading,
            on_progress=on_progress,
        )
    data = replace(data, batch_size=batch_size, seed=seed)
    if limit is not None:
        data = data.limited(limit)
    shape = data.image_shape
    if isinstance(image_size, Preprocessing):
        return brought_to(data, image_size)
    return brought_to(data, Preprocessing(image_size=size or shape[:2], channels=channels or shape[2]))


def _named(
    source: Any,
    rule: Callable[[int], Preprocessing | None],
    *,
    class_names: tuple[str, ...] | None,
    rates: tuple[float, float],
    seed: int,
    limit: int | None,
    reading: ReadOptions,
    on_progress: Callable[[int, int], None] | None,
) -> ImageData:
    """Returns what a name, a path or a builder of TensorFlow Datasets stands for."""
    word = source if isinstance(source, str) else ""
    if word == "emoji":
        return _in_order(_emoji(seed), class_names)
    if word in KERAS_NAMES:
        return _in_order(_from_keras(word, seed), class_names)
    if word.startswith(TFDS) or not (isinstance(source, Path) or _means_path(word)):
        builder = (
            source if hasattr(source, "as_dataset") else builder_of(word.removeprefix(TFDS), ["emoji", *KERAS_NAMES])
        )
        folder = getattr(builder, "data_dir", None) if type(builder).__name__ == "ImageFolder" else None
        if folder is None:
            data = read_tfds(builder, rule=rule, rates=rates, seed=seed, limit=limit, reading=reading)
            return _in_order(data, class_names)
        source = folder
    preprocessing = rule(3)
    if preprocessing is None:
        raise DataError(f"{source}: give image_size, to which the images are brought.")
    path = Path(source).expanduser()
    return read_folder(
        path,
        preprocessing=preprocessing,
        rates=rates,
        seed=seed,
        reading=reading,
        class_names=class_names,
        on_progress=on_progress,
    )


def _in_order(data: ImageData, class_names: tuple[str, ...] | None) -> ImageData:
    return data if class_names is None else data.in_class_order(class_names)


def _checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    if (
        not isinstance(sides, tuple | list)
        or len(sides) != 2
        or any(type(side) is not int or side < 1 for side in sides)
    ):
        raise DataError(f"image_size={image_size!r} is neither a positive whole number nor (height, width), px.")
    return (sides[0], sides[1])


def _check_arguments(*, channels: int | None, batch_size: int, limit: int | None, seed: int) -> None:
    wrong = [
        f"{name}={value!r} is not a positive whole number"
        for name, value in (("batch_size", batch_size), ("limit", limit))
        if value is not None and (type(value) is not int or value < 1)
    ]
    if type(seed) is not int or seed < 0:
        wrong.append(f"seed={seed!r} is not a whole number from 0 up")
    if channels is not None and (type(channels) is not int or channels not in (1, 3)):
        wrong.append(f"channels={channels!r}: only 1 and 3 turn into one another, not {channels}")
    if wrong:
        raise DataError("This can't be loaded: " + "; ".join(wrong) + ".")


def _means_path(word: str) -> bool:
    """True for a word that starts or ends as a path does, and for what is there."""
    return (
        word.startswith((".", "/", "~"))
        or word.lower().endswith((".csv", ".tsv"))
        or "\\" in word
        or (word != "" and Path(word).is_dir())
    )


def _emoji(seed: int) -> ImageData:
    with (files("vit_keras") / "data" / "emoji.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype("int32")
        styles = arrays["style_names"][arrays["styles"]]
        class_names = tuple(arrays["class_names"].tolist())
    unseen = styles == UNSEEN_STYLE
    splits = _with_validation(Split(images[~unseen], labels[~unseen]), class_names, seed)
    return ImageData(
        name="emoji", class_names=class_names, splits=splits | {"test": Split(images[unseen], labels[unseen])}
    )


def _with_validation(train: Split, class_names: tuple[str, ...], seed: int) -> dict[str, Split | EncodedSplit]:
    held = hold_out(train.labels, class_names, seed=seed)
    return {"train": train.subset(~held), "validation": train.subset(held)}


_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": _FASHION,
    "cifar10": _CIFAR10,
    "cifar100": tuple(f"class_{index:02d}" for index in range(100)),
}


def _from_keras(name: str, seed: int) -> ImageData:
    import keras

    try:
        (images, labels), (test_images, test_labels) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # urllib's, tarfile's, numpy's: all mean that the files are not there whole
        raise DataError(
            f"{name} could not be loaded: {error}. It is downloaded once by keras.datasets; without a network, put its files "
            f"into the datasets folder of Keras' home (~/.keras/datasets, or $KERAS_HOME/datasets)."
        ) from error
    splits = _with_validation(_split(images, labels), _CLASS_NAMES[name], seed)
    return ImageData(
        name=name, class_names=_CLASS_NAMES[name], splits=splits | {"test": _split(test_images, test_labels)}
    )


def _split(images: Any, labels: Any) -> Split:
    images = np.asarray(images)
    return Split(images if images.ndim == 4 else images[..., None], np.asarray(labels).reshape(-1).astype("int32"))


def brought_to(data: ImageData, preprocessing: Preprocessing) -> ImageData:
    """Returns the data at another size or number of channels.

    Args:
        data: What is resized, all of it now.
        preprocessing: How.

    Raises:
        DataError: Its channels can't become those.
    """
    wanted = (*preprocessing.image_size, preprocessing.channels)
    if data.image_shape == wanted:
        return data
    if {preprocessing.channels, data.image_shape[2]} - {1, 3}:
        raise DataError(
            f"{data.name} has {data.image_shape[2]} channels; only 1 and 3 turn into one another, not {preprocessing.channels}."
        )
    mode = "L" if preprocessing.channels == 1 else "RGB"

    def resized(split: Split | EncodedSplit) -> Split:
        images = np.empty((len(split), *wanted), "uint8")
        for index in range(len(split)):
            image = image_of(split.image(index)).convert(mode)
            images[index] = pixels(preprocessing.apply(image))
        return Split(images, split.labels)

    return replace(data, splits={name: resized(split) for name, split in data.splits.items()})
