import numpy as np
import pytest
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.pretraining.mae.masking import count_visible, shuffle, take_tokens


def test_patches_with_the_least_noise_are_visible():
    masking = shuffle(ops.convert_to_tensor([[0.9, 0.1, 0.5, 0.3]]), 1)
    assert ops.convert_to_numpy(masking.visible).tolist() == [[1]]
    assert ops.convert_to_numpy(masking.restore).tolist() == [[3, 0, 2, 1]]
    assert ops.convert_to_numpy(masking.mask).tolist() == [[1, 0, 1, 1]]


def test_tokens_are_taken_per_image(rng):
    tokens, indices = rng.normal(size=(3, 5, 4)).astype("float32"), rng.integers(0, 5, (3, 2))
    taken = ops.convert_to_numpy(take_tokens(ops.convert_to_tensor(tokens), ops.convert_to_tensor(indices, "int32")))
    np.testing.assert_array_equal(taken, np.take_along_axis(tokens, indices[:, :, None], axis=1))


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("num_patches", "ratio", "count"), [(196, 0.75, 49), (49, 0.75, 12), (100, 0.9, 10), (10, 0.7, 3), (4, 0.5, 2)]
)
def test_the_number_of_visible_patches_has_no_rounding_error(num_patches, ratio, count):
    assert count_visible(num_patches, ratio) == count


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("num_patches", "ratio", "message"),
    [
        (16, 0, "mask_ratio=0 is not a fraction between 0 and 1"),
        (16, 1.0, "mask_ratio=1.0 is not a fraction between 0 and 1"),
        (16, "0.5", "mask_ratio='0.5' is not a fraction"),
        (16, float("nan"), "mask_ratio=nan is not a fraction"),
        (4, 0.9, "mask_ratio=0.9 leaves none visible of 4 patches"),
        (1, 0.75, "leaves none visible of 1 patches per image. It needs at least two patches"),
    ],
)
def test_a_ratio_that_masks_none_or_all_is_refused(num_patches, ratio, message):
    with pytest.raises(InvalidArgumentError, match=message):
        count_visible(num_patches, ratio)
