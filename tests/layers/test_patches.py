import numpy as np
import oracle
import pytest

from vit_keras.layers import Patches


@pytest.mark.parametrize("size", [1, 4])
def test_equals_the_oracle_bit_for_bit(size):
    images = oracle.tokens(2, 8, 12, 3)
    np.testing.assert_array_equal(oracle.call(Patches(size), images), oracle.patches(images, size))


def test_reads_left_to_right_then_down_and_the_same_inside_a_patch():
    image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    patches = oracle.call(Patches(2), image)
    assert patches[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
