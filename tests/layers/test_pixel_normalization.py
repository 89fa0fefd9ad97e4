import keras
import numpy as np
import oracle
import pytest

from vit_keras.layers import PixelNormalization


@pytest.mark.parametrize(
    ("mean", "std", "dtype"),
    [
        ([0.5], [0.5], "float64"),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "uint8"),
        ([0.4], [0.2, 0.3, 0.4], "float32"),
    ],
)
def test_equals_the_oracle(mean, std, dtype):
    images = np.random.default_rng(0).integers(0, 256, size=(2, 4, 4, 3)).astype(dtype)
    expected = oracle.pixel_normalization(images.astype("float64"), mean, std)
    oracle.assert_close(oracle.call(PixelNormalization(mean, std), images), expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_computes_in_float32_before_it_rounds_to_the_compute_dtype(policy):
    # Resized pixels: bfloat16 would round each to the nearest half before it is normalized.
    images = np.random.default_rng(0).uniform(100, 140, size=(2, 4, 4, 3)).astype("float32")
    half = PixelNormalization(dtype=policy)(images)
    expected = keras.ops.cast(PixelNormalization()(images), half.dtype)
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (half, expected)))
