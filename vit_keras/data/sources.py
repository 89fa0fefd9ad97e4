"""Finds a data set by its name or folder."""

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.config import closest
from vit_keras.data.dataset import ImageData, Split
from vit_keras.data.folder import hold_out, read_folder
from vit_keras.errors import DataError

UNSEEN_STYLE = "twemoji"
"""The drawing style that is the emoji set's test split and no part of its training."""
KERAS_NAMES = ("cifar10", "cifar100", "fashion_mnist", "mnist")
"""Data sets that `keras.datasets` downloads, or finds in Keras' home folder."""
_LARGEST_BYTES = 8 * 2**30


def load(
    source: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    seed: int = 0,
) -> ImageData:
    """Returns training, validation and test images with their class names.

    Args:
        source: "emoji", the embedded set: 8 groups of emoji, five drawing styles to train on and a sixth, never seen, to
            test. Or a name of `KERAS_NAMES`, a folder of class folders, or any TensorFlow Datasets name with images and
            labels. A folder named as one of the first two is meant with a slash: "./emoji".
        image_size: Height and width all images are brought to, px; by default as they are. A folder needs it.
        channels: 1 or 3; by default as they are, and 3 for a folder.
        batch_size: Images a batch.
        limit: Most images of each split, drawn by seed; None for all.
        seed: Decides what is held out for validation, the limit, and the order of the training images.

    Raises:
        DataError: There is no such source, or it cannot be used.

    Example:
        >>> data = load("emoji", batch_size=32)
        >>> {name: len(split) for name, split in data.splits.items()}
        {'train': 5552, 'validation': 616, 'test': 1629}
    """
    size = _checked_size(image_size)
    _check_arguments(channels=channels, batch_size=batch_size, limit=limit, seed=seed)
    word = str(source)
    if word == "emoji" and not isinstance(source, Path):
        data = _emoji(seed)
    elif word in KERAS_NAMES and not isinstance(source, Path):
        data = _from_keras(word, seed)
    elif _means_folder(source):
        if size is None:
            raise DataError(f"{source}: give image_size, to which the folder's images are brought.")
        data = read_folder(Path(source).expanduser(), image_size=size, channels=channels or 3, seed=seed)
    else:
        data = _from_tfds(word, size, seed, limit)
    data = replace(data, batch_size=batch_size, seed=seed)
    if limit is not None:
        data = data.limited(limit)
    return _brought_to(data, size or data.image_shape[:2], channels or data.image_shape[2])


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


def _means_folder(source: str | Path) -> bool:
    """True for a path object, a word that starts as a path does, and a folder that is there."""
    word = str(source)
    return (
        isinstance(source, Path)
        or word.startswith((".", "/", "~"))
        or "\\" in word
        or (word != "" and Path(word).is_dir())
    )


def _emoji(seed: int) -> ImageData:
    with (files("vit_keras") / "data" / "emoji.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype("int32")
        styles = arrays["style_names"][arrays["styles"]]
        class_names = tuple(arrays["class_names"].tolist())
    unseen = styles == UNSEEN_STYLE
    train, validation = hold_out(Split(images[~unseen], labels[~unseen]), class_names, seed=seed)
    splits = {"train": train, "validation": validation, "test": Split(images[unseen], labels[unseen])}
    return ImageData(name="emoji", class_names=class_names, splits=splits)


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
    train, test = _split(images, labels), _split(test_images, test_labels)
    train, validation = hold_out(train, _CLASS_NAMES[name], seed=seed)
    return ImageData(
        name=name, class_names=_CLASS_NAMES[name], splits={"train": train, "validation": validation, "test": test}
    )


def _split(images: Any, labels: Any) -> Split:
    images = np.asarray(images)
    return Split(images if images.ndim == 4 else images[..., None], np.asarray(labels).reshape(-1).astype("int32"))


def _from_tfds(name: str, size: tuple[int, int] | None, seed: int, limit: int | None) -> ImageData:
    import tensorflow_datasets as tfds

    if re.match(r"\w+:[a-zA-Z]", name):
        raise DataError(f"{name!r} names a community data set, which would run its author's code; it is not loaded.")
    try:
        if not name:
            raise ValueError(name)
        builder = tfds.builder(name)
    except Exception as error:  # TFDS answers bad names with errors of many kinds, assertions among them
        known = ["emoji", *KERAS_NAMES, *tfds.list_builders(with_community_datasets=False)]
        raise DataError(
            f"There is no data set {name!r}: no such folder, and no TensorFlow Datasets name. The closest names are "
            f"{closest(name, known)}."
        ) from error
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise DataError(f"The data set {name!r} has {sorted(features)}; an image and a label with names are needed.")
    try:
        builder.download_and_prepare()
    except Exception as error:  # every source's downloads fail in their own way
        raise DataError(
            f"{name!r} is not prepared on this machine and could not be downloaded: {error}. Prepare it where there is a network, "
            "and set TFDS_DATA_DIR to that folder."
        ) from error
    if "train" not in builder.info.splits:
        raise DataError(f"The data set {name!r} has no training split: {sorted(builder.info.splits)}.")
    names = tuple(features["label"].names)
    splits = {
        split: _read_tfds(builder, split, size, limit)
        for split in ("train", "validation", "test")
        if split in builder.info.splits
    }
    for missing in [item for item in ("test", "validation") if item not in splits]:
        splits["train"], splits[missing] = hold_out(splits["train"], names, seed=seed)
    return ImageData(name=name, class_names=names, splits=splits)


def _read_tfds(builder: Any, name: str, size: tuple[int, int] | None, limit: int | None) -> Split:
    """Reads a split into memory; with a limit, twice as many examples at most, since some are held out."""
    import tensorflow as tf

    images, labels, taken = [], [], 0
    examples = builder.as_dataset(split=name)
    for example in examples if limit is None else examples.take(2 * limit):
        image = example["image"]
        if size is not None and image.shape[:2] != size:
            image = tf.image.resize(image, size, method="bicubic", antialias=True)
        images.append(np.clip(np.round(image.numpy()), 0, 255).astype("uint8"))
        labels.append(int(example["label"]))
        taken += images[-1].nbytes
        if taken > _LARGEST_BYTES:
            raise DataError(
                f"The {name} split of {builder.name!r} is over {_LARGEST_BYTES / 2**30:.0f} GiB in memory: give a smaller "
                "image_size, or a limit."
            )
    if len({image.shape for image in images}) > 1:
        raise DataError(f"The images of {builder.name!r} have different sizes; give image_size.")
    return _split(np.stack(images), labels)


def _brought_to(data: ImageData, size: tuple[int, int], channels: int) -> ImageData:
    if data.image_shape == (*size, channels):
        return data
    import tensorflow as tf

    def resized(split: str) -> Split:
        images, batches = data.splits[split].images, []
        for start in range(0, len(images), 1024):
            batch = tf.constant(images[start : start + 1024])
            if batch.shape[1:3] != size:
                batch = tf.image.resize(batch, size, method="bicubic", antialias=True)
            if channels != batch.shape[-1]:
                batch = tf.image.grayscale_to_rgb(batch) if channels == 3 else tf.image.rgb_to_grayscale(batch)
            batches.append(np.clip(np.round(batch.numpy()), 0, 255).astype("uint8"))
        return Split(np.concatenate(batches), data.splits[split].labels)

    if {channels, data.image_shape[2]} - {1, 3}:
        raise DataError(
            f"{data.name} has {data.image_shape[2]} channels; only 1 and 3 turn into one another, not {channels}."
        )
    return replace(data, splits={name: resized(name) for name in data.splits})
