import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import PixelNormalization

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize("arguments", [{}, IMAGENET])
def test_contract(arguments, tmp_path):
    check_layer(PixelNormalization(**arguments), (2, 4, 4, 3), tmp_path)


@pytest.mark.parametrize(
    "arguments", [{"mean": [0.5], "std": [0.5]}, IMAGENET, {"mean": [0.4], "std": [0.2, 0.3, 0.4]}]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_equals_the_oracle(arguments, dtype):
    images = np.random.default_rng(0).integers(0, 256, size=(2, 4, 4, 3)).astype(dtype)
    expected = oracle.pixel_normalization(images.astype("float64"), **arguments)
    outputs = keras.ops.convert_to_numpy(PixelNormalization(**arguments)(images))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


def test_black_and_white_become_minus_one_and_one():
    images = np.array([0, 255], "uint8").reshape(1, 1, 2, 1)
    outputs = keras.ops.convert_to_numpy(PixelNormalization()(images))
    np.testing.assert_allclose(outputs.ravel(), [-1, 1], atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_computes_in_float32_before_it_rounds_to_the_compute_dtype(policy):
    # Resized pixels: bfloat16 would round each to the nearest half before it is normalised.
    images = np.random.default_rng(0).uniform(100, 140, size=(2, 4, 4, 3)).astype("float32")
    half = PixelNormalization(dtype=policy)(images)
    expected = keras.ops.cast(PixelNormalization()(images), half.dtype)
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (half, expected)))


@pytest.mark.parametrize("std", [[0.0], [0.5, -0.5, 0.5], []])
def test_refuses_to_divide_by_what_is_not_positive(std):
    with pytest.raises(ValueError, match=r"PixelNormalization divides by std=\[.*\], which must be positive\."):
        PixelNormalization([0.5], std)


@pytest.mark.parametrize(("mean", "std"), [([0.5, 0.5], [0.5]), ([0.5], [0.5, 0.5]), ([0.5] * 3, [0.5] * 2)])
def test_refuses_numbers_that_do_not_fit_the_channels(mean, std):
    with pytest.raises(
        ValueError, match=r"Images have 3 channels, but mean=\[.*\] and std=\[.*\]: give one, or one a channel\."
    ):
        PixelNormalization(mean, std)(keras.Input((4, 4, 3)))
