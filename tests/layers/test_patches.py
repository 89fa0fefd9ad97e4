import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import Patches


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 4, 12, 1)])
def test_contract(shape, tmp_path):
    check_layer(Patches(4), shape, tmp_path)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_equals_the_oracle_bit_for_bit(size):
    images = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype("float32")
    patches = keras.ops.convert_to_numpy(Patches(size)(images))
    np.testing.assert_array_equal(patches, oracle.patches(images, size))


def test_reads_left_to_right_then_down_and_inside_a_patch_the_same():
    image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    patches = keras.ops.convert_to_numpy(Patches(2)(image))
    assert patches[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("size", [0, -4, 2.0, True, None])
def test_refuses_a_size_that_is_no_positive_whole_number(size):
    with pytest.raises(ValueError, match=r"Patches needs positive whole numbers, not patch_size="):
        Patches(size)


@pytest.mark.parametrize("shape", [(8, 8), (8, None, 3), (None, None, 3)])
def test_refuses_what_is_no_image_of_known_size(shape):
    with pytest.raises(
        ValueError, match=r"Patches takes images of shape \(batch, height, width, channels\).*it got \(None, "
    ):
        Patches(4)(keras.Input(shape))


@pytest.mark.parametrize("shape", [(8, 9, 3), (9, 8, 3)])
def test_refuses_images_that_whole_patches_do_not_fill(shape):
    message = (
        rf"Images of {shape[0]}x{shape[1]} px can't be cut into whole patches of 4 px\. Resize them to a multiple of 4"
    )
    with pytest.raises(ValueError, match=message):
        Patches(4)(keras.Input(shape))
