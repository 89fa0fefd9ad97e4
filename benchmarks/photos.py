"""A folder of test photos: random crops of the two in scikit-learn, as JPEGs of 500 px."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_folder(
    folder: Path, *, count: int, size: tuple[int, int] = (500, 375), classes: int = 2, seed: int = 0
) -> Path:
    """Writes class folders of JPEGs and returns the folder.

    Args:
        folder: Created.
        count: Number of files.
        size: Width and height in px; every third is rotated to portrait.
        classes: Number of class folders.
        seed: Random seed of the crops.
    """
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    rng = np.random.default_rng(seed)
    for number in range(count):
        photo = photos[number % len(photos)]
        share = rng.uniform(0.6, 1.0)
        width, height = (int(side * share) for side in photo.size)
        left, top = (
            int(rng.integers(0, whole - part + 1)) for whole, part in zip(photo.size, (width, height), strict=True)
        )
        part = photo.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC)
        if number % 3 == 0:
            part = part.transpose(Image.Transpose.ROTATE_90)
        path = folder / f"class_{number % classes}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.save(path, quality=90)
    return folder
