"""Folders of images that look unlike each other, without any problem."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make(tmp_path):
    """Returns a maker of random images, and of given ones, in the folder `root`."""
    rng = np.random.default_rng(0)

    def make_image(path, picture=None, **options):
        path = tmp_path / "root" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if picture is None:
            picture = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype("uint8")).resize((160, 120))
        picture.save(path, **options)
        return path

    return make_image


@pytest.fixture
def root(make, tmp_path):
    """A folder of two classes without splits."""
    for name in ("cat", "dog"):
        for index in range(12):
            make(f"{name}/{index:02d}.png")
    return tmp_path / "root"


@pytest.fixture
def splits(make, tmp_path):
    """A folder of two classes with three splits."""
    for split, count in (("train", 12), ("val", 3), ("test", 3)):
        for name in ("cat", "dog"):
            for index in range(count):
                make(f"{split}/{name}/{index:02d}.png")
    return tmp_path / "root"
