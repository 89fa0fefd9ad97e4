import numpy as np
import oracle
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import Patches


@pytest.mark.parametrize("size", [1, 4])
def test_equals_the_oracle_bit_for_bit(size):
    images = oracle.tokens(2, 8, 12, 3)
    np.testing.assert_array_equal(oracle.call(Patches(size), images), oracle.patches(images, size))


def test_reads_left_to_right_then_down_and_the_same_inside_a_patch():
    image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    patches = oracle.call(Patches(2), image)
    assert patches[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("as_grid", [False, True])
def test_pixels_that_fill_no_patch_change_nothing_where_they_are_cropped(as_grid):
    images = oracle.tokens(2, 11, 14, 3)
    layer = Patches(4, as_grid=as_grid, partial_patches="crop")
    found = oracle.call(layer, images)
    assert found.shape == layer.compute_output_shape(images.shape) == ((2, 2, 3, 48) if as_grid else (2, 6, 48))
    np.testing.assert_array_equal(found.reshape(2, 6, 48), oracle.patches(images[:, :8, :12], 4))


def test_other_sizes_are_refused_unless_they_are_to_be_cropped():
    with pytest.raises(InvalidArgumentError, match="images of 11x14 px can't be cut into patches of 4 px"):
        Patches(4)(oracle.tokens(2, 11, 14, 3))
    with pytest.raises(InvalidArgumentError, match="images of 3x14 px can't be cut into patches of 4 px"):
        Patches(4, partial_patches="crop")(oracle.tokens(2, 3, 14, 3))
    with pytest.raises(InvalidArgumentError, match="does not know partial_patches='pad'"):
        Patches(4, partial_patches="pad")
