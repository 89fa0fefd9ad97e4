"""Data that a tiny model learns in a few steps."""

import keras
import numpy as np
import pytest

from vit_keras.data import ImageData, Split


@pytest.fixture(scope="session")
def make_data():
    """Returns a maker of images in two classes, dark and bright; the smaller `gap`, the more they overlap."""

    def make(count=64, *, gap=150, **fields):
        rng, splits = np.random.default_rng(0), {}
        for name, number in (("train", count), ("validation", 16), ("test", 16)):
            labels = np.arange(number) % 2
            pixels = rng.integers(0, 250 - gap, (number, 16, 16, 3)) + gap * labels[:, None, None, None]
            splits[name] = Split(pixels.astype("uint8"), labels)
        fields = {"name": "brightness", "class_names": ("dark", "bright"), "batch_size": 16, **fields}
        return ImageData(splits=splits, **fields)

    return make


@pytest.fixture(scope="session")
def data(make_data):
    return make_data()


@pytest.fixture
def model():
    """One output of a kernel of zeros; most files have another."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.stop_training = False
    return model
