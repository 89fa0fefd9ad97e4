"""Resizing in a TensorFlow graph gives Pillow's pixels, each of them equal."""

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("the graphs are made in a TensorFlow process", allow_module_level=True)

import tensorflow as tf

from vit_keras.exporting.conversion import resample_graph

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
CASES = {  # height, width and channels, new size, box (top, left, bottom, right) or None for all
    "smaller": ((97, 131, 3), (32, 48), None),
    "larger": ((20, 13, 3), (57, 64), None),
    "part": ((97, 131, 3), (32, 48), (3.3, 20.7, 90.1, 101.6)),
    "rows_first": ((211, 50, 3), (24, 24), (10.5, 0.0, 200.25, 50.0)),  # from Pillow 13 on
    "one_axis": ((64, 90, 1), (64, 31), None),
    "one_pixel": ((1, 1, 1), (5, 7), None),
    "to_one_pixel": ((40, 300, 1), (1, 1), None),
}


def make_pixels(shape):
    """Noise, with parts in black and white, where filters go below 0 and above 255."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, shape, "uint8")
    extreme = rng.integers(0, 2, shape, "uint8") * np.uint8(255)
    return np.where(rng.random((*shape[:1], 1, 1)) < 0.5, pixels, extreme)


def resize(image, size, interpolation, box):
    return image.resize(size[::-1], Image.Resampling[interpolation.upper()], box=(box[1], box[0], box[3], box[2]))


def make_resampler(interpolation):
    specs = [
        tf.TensorSpec((None, None, None), tf.uint8),
        tf.TensorSpec((2,), tf.float64),
        tf.TensorSpec((2,), tf.float64),
    ]

    @tf.function(input_signature=[*specs, tf.TensorSpec((2,), tf.int32)], autograph=False)
    def run(pixels, start, end, size):
        return resample_graph.resample(pixels, start, end, size=size, interpolation=interpolation)

    return run


def check(run, case, interpolation, expect=resize):
    shape, size, box = CASES[case]
    pixels, box = make_pixels(shape), box or (0.0, 0.0, float(shape[0]), float(shape[1]))
    image = Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
    expected = np.asarray(expect(image, size, interpolation, box)).reshape(*size, shape[2])
    np.testing.assert_array_equal(run(pixels, box[:2], box[2:], size).numpy(), expected, err_msg=case)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_pixel_is_that_of_pillow(interpolation):
    run = make_resampler(interpolation)
    for case in CASES:
        check(run, case, interpolation)


def test_a_large_image_is_filtered_in_parts(monkeypatch):
    monkeypatch.setattr(resample_graph, "_CHUNK", 97 * 3 * 10)  # 14 parts of 10 columns, the last of 1
    check(make_resampler("bicubic"), "smaller", "bicubic")


def test_older_versions_of_pillow_filter_columns_first(monkeypatch):
    monkeypatch.setattr(resample_graph, "_ROWS_MAY_BE_FIRST", False)

    def columns_first(image, size, interpolation, box):
        columns = resize(image, (image.height, size[1]), interpolation, (0, box[1], image.height, box[3]))
        return resize(columns, size, interpolation, (box[0], 0, box[2], size[1]))

    check(make_resampler("bilinear"), "rows_first", "bilinear", columns_first)
