import numpy as np
import pytest

from vit_keras.models.pixel_range import find_pixel_problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda pixels: pixels / 255, "from 0 to 1"),
        (lambda pixels: np.where(pixels == pixels.max(), 260, pixels) / 255, "from 0 to 1"),  # overshoot of a resize
        (lambda pixels: (pixels > 128).astype("float32"), "from 0 to 1"),
        (lambda pixels: pixels / 127.5 - 1, "negative"),
        (lambda pixels: (pixels / 255 - 0.45) / 0.23, "negative"),
        (lambda pixels: pixels, None),
        (lambda pixels: pixels * 0, None),
        (lambda pixels: np.where(pixels > 254, pixels, 0), None),  # few strokes on black
        (lambda pixels: pixels - 1, None),  # undershoot
        (lambda pixels: (pixels > 128).astype("uint8"), None),
    ],
)
def test_finds_pixels_that_are_not_0_to_255(change, problem, rng):
    pixels = rng.integers(0, 256, (12, 16, 16, 3)).astype("float32")
    found = find_pixel_problem(change(pixels), pixel_std=[0.5])
    assert found is None if problem is None else problem in found


def test_a_model_for_pixels_0_to_1_accepts_them(rng):
    assert find_pixel_problem(rng.random((2, 4, 4, 3)), pixel_std=[0.5 / 255]) is None
