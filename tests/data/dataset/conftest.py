"""A folder of photos of several sizes and orientations."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """Two classes of 24 noisy JPEGs, some stored on their side."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(5)
    for number in range(48):
        size = rng.integers(40, 90, 2)
        image = Image.fromarray(rng.integers(0, 256, (*size, 3)).astype("uint8")).resize((64, 48))
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        path = root / ("cat" if number % 2 else "dog") / f"{number:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        image.save(path, exif=exif)
    return root
