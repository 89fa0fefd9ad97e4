"""The embedded emoji set, the digits of scikit-learn, and the small sets of `keras.datasets`."""

import socket
from importlib.resources import files
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import hold_out
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import Split
from vit_keras.errors import DataError

UNSEEN_STYLE = "twemoji"  # the drawing style of the emoji set's test split, which its training split does not have
_SECONDS = 10.0  # after which a server that sends nothing is given up
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CLASS_NAMES = {
    "cifar10": _CIFAR10,
    "cifar100": tuple(f"class_{index:02d}" for index in range(100)),
    "fashion_mnist": _FASHION,
    "mnist": tuple("0123456789"),
}
KERAS_NAMES = tuple(_CLASS_NAMES)
"""Names of `keras.datasets`, which downloads them once into Keras' home folder."""
BUILTIN_NAMES = ("emoji", "digits", *KERAS_NAMES)
"""Names of the sets that `read_builtin` reads; the first two need no network."""
_DIGITS_TRAINED = 1000  # of 1,797


def read_builtin(name: str, seed: int) -> ImageData:
    """Returns a set of `BUILTIN_NAMES`; the seed draws its validation split."""
    if name == "emoji":
        return read_emoji(seed)
    return read_digits(seed) if name == "digits" else read_keras(name, seed)


def read_emoji(seed: int) -> ImageData:
    """Returns the embedded emoji set; the seed draws its validation split."""
    with (files("vit_keras") / "data" / "emoji.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype("int32")
        unseen = arrays["style_names"][arrays["styles"]] == UNSEEN_STYLE
        class_names = tuple(arrays["class_names"].tolist())
    train, test = (Split(images[chosen], labels[chosen]) for chosen in (~unseen, unseen))
    return _with_validation("emoji", class_names, train, test, seed)


def read_digits(seed: int) -> ImageData:
    """Returns scikit-learn's 1,797 handwritten digits of 8 px; the seed draws the validation split."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * (255 / 16)).round().astype("uint8")
    parts = (slice(_DIGITS_TRAINED), slice(_DIGITS_TRAINED, None))
    train, test = (_split(images[part], found.target[part]) for part in parts)
    return _with_validation("digits", tuple("0123456789"), train, test, seed)


def read_keras(name: str, seed: int) -> ImageData:
    """Returns a set of `keras.datasets`; the seed draws its validation split."""
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)  # `urlretrieve` has none of its own
    try:
        (images, labels), (test_images, test_labels) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # urllib's, tarfile's, numpy's: the files are missing or damaged
        raise DataError(
            f"{name} could not be loaded: {error}. keras.datasets downloads it once; without a network, put its files into the "
            "folder ~/.keras/datasets (or $KERAS_HOME/datasets)."
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return _with_validation(name, _CLASS_NAMES[name], _split(images, labels), _split(test_images, test_labels), seed)


def _split(images: Any, labels: Any) -> Split:
    images = np.asarray(images)
    return Split(images if images.ndim == 4 else images[..., None], np.asarray(labels).reshape(-1).astype("int32"))


def _with_validation(name: str, class_names: tuple[str, ...], train: Split, test: Split, seed: int) -> ImageData:
    held = hold_out(train.labels, len(class_names), seed=seed)
    return ImageData(
        name=name,
        class_names=class_names,
        splits={"train": train.subset(~held), "validation": train.subset(held), "test": test},
    )
