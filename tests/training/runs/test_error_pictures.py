"""Near-identical errors are shown once."""

import numpy as np
import pytest

from vit_keras.data import Split
from vit_keras.training.runs.error_pictures import group_similar

pytestmark = pytest.mark.any_backend


def smooth(seed: int) -> np.ndarray:
    """A picture of a few random shapes, whose hash is stable."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype("uint8")
    return coarse.repeat(16, axis=0).repeat(16, axis=1)


def test_near_identical_images_of_a_class_are_one_group_at_the_place_of_the_first() -> None:
    brighter = (smooth(0) * 0.9).astype("uint8")
    images = np.stack([smooth(0), smooth(1), brighter, smooth(2), brighter])
    labels = np.array([0, 0, 0, 1, 1])
    groups = group_similar(Split(images, labels), [4, 0, 1, 2, 3], labels)
    assert groups == [[4], [0, 2], [1], [3]]  # image 4 looks like 0, and has another label
