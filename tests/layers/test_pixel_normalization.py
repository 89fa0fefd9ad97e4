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
    oracle.assert_close(oracle.call(PixelNormalization(**arguments), images), expected)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_computes_in_float32_before_it_rounds_to_the_compute_dtype(policy):
    # Resized pixels: bfloat16 would round each to the nearest half before it is normalized.
    images = np.random.default_rng(0).uniform(100, 140, size=(2, 4, 4, 3)).astype("float32")
    half = PixelNormalization(dtype=policy)(images)
    expected = keras.ops.cast(PixelNormalization()(images), half.dtype)
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (half, expected)))
