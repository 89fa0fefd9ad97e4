import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vit_keras.data.images.cropping import random_box
from vit_keras.data.images.preprocess import Preprocessing

GOLDEN = Path(__file__).parents[2] / "golden" / "augmentation"
USUAL = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}


@pytest.fixture(scope="module")
def references():
    with np.load(GOLDEN / "crops.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def boxes(size, count=4000, seed=0, **ranges):
    rng = np.random.default_rng(seed)
    return np.array([random_box(size, rng, **(ranges or USUAL)) for _ in range(count)])


class Script:
    """Draws ten tries that a test gives."""

    def __init__(self, draws):
        self.draws = draws

    def random(self, shape):
        assert shape == self.draws.shape
        return self.draws


def test_the_same_draws_give_timm_s_boxes(references):
    ours = [
        random_box(tuple(size), Script(draws), scale=(0.3, 1.0), ratio=(3 / 4, 4 / 3))
        for size, draws in zip(references["sizes"].tolist(), references["draws"], strict=True)
    ]
    np.testing.assert_array_equal(ours, references["boxes"])


def test_a_resized_crop_is_torchvision_s_but_for_its_rim(references):
    with np.load(GOLDEN / "operations.npz", allow_pickle=False) as arrays:
        picture = Image.fromarray(arrays["rgb"])
    ours = np.asarray(Preprocessing(image_size=(20, 22)).resize_box(picture, (9, 5, 40, 29))).astype(int)
    difference = np.abs(ours - references["resized"])
    assert difference[2:-2, 2:-2].max() == 0
    assert difference.max() <= 2  # where ours knows the pixels beside the box


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    scale=st.tuples(st.floats(1e-4, 1), st.floats(1e-4, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)).map(sorted),
    seed=st.integers(0, 2**32),
)
def test_a_box_has_pixels_and_lies_in_the_image(width, height, scale, ratio, seed):
    left, top, right, bottom = random_box((width, height), np.random.default_rng(seed), scale=scale, ratio=ratio)
    assert all(type(side) is int for side in (left, top, right, bottom))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_areas_are_uniform_and_ratios_log_uniform_where_every_try_fits():
    left, top, right, bottom = boxes((4000, 4000), scale=(0.1, 0.5), ratio=(1 / 2, 2)).T
    width, height = right - left, bottom - top
    areas, ratios = width * height / 4000**2, np.log(width / height) / math.log(2)
    uniform = (np.arange(4000) + 0.5) / 4000
    np.testing.assert_allclose(np.sort(areas), 0.1 + 0.4 * uniform, atol=0.4 * 0.03)
    np.testing.assert_allclose(np.sort(ratios), -1 + 2 * uniform, atol=2 * 0.03)
    assert abs(np.corrcoef(areas, ratios)[0, 1]) < 0.08


def test_places_are_uniform_from_edge_to_edge():
    left, top, _, _ = boxes((10, 10), count=8000, scale=(0.36, 0.36), ratio=(1.0, 1.0)).T  # 6x6 px: five places
    for starts in (left, top):
        np.testing.assert_allclose(np.bincount(starts, minlength=5) / 8000, 0.2, atol=0.025)
    assert abs(np.corrcoef(left, top)[0, 1]) < 0.06


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((400, 30), (180, 0, 220, 30)),  # too wide: 4 to 3 in the middle
        ((30, 400), (0, 180, 30, 220)),  # too tall: 3 to 4
        ((1, 1), (0, 0, 1, 1)),
        ((1, 9000), (0, 4499, 1, 4500)),
    ],
)
def test_where_no_try_fits_it_is_the_middle(size, box):
    assert {tuple(found) for found in boxes(size, count=20, scale=(1.0, 1.0), ratio=(3 / 4, 4 / 3)).tolist()} == {box}


def test_every_box_takes_the_same_number_of_draws():
    after = set()
    for size in ((500, 375), (400, 3)):
        rng = np.random.default_rng(3)
        random_box(size, rng, **USUAL)
        after.add(rng.random())
    assert len(after) == 1
