"""Packed images: patch by patch, with rows and columns, and padding at the end."""

import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.packed_sizes import PADDING, fit_grid, packed_shape
from vit_keras.packing import change_image, pack_image, packed_grid, unpack_image


def random_image(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype("uint8")


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_has_the_place_and_the_pixels_of_a_patch(channels):
    image = random_image(8, 12, channels)
    packed = pack_image(image, patch_size=4, max_num_patches=8)
    assert packed.shape == packed_shape(8, 4, channels) == (8, 18, channels)
    assert packed.dtype == np.uint8
    places = [(row, column) for row in range(2) for column in range(3)]
    for patch, (row, column) in zip(packed, places, strict=False):
        assert (patch[0] == row).all()
        assert (patch[1] == column).all()
        np.testing.assert_array_equal(
            patch[2:].reshape(4, 4, channels), image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        )
    assert (packed[6:, :2] == PADDING).all()
    assert not packed[6:, 2:].any()


@pytest.mark.parametrize("size", [(4, 4), (12, 8), (4, 96), (96, 4)])
def test_unpacking_returns_the_image(size):
    image = random_image(*size)
    packed = pack_image(image, patch_size=4, max_num_patches=24)
    assert packed_grid(packed) == (size[0] // 4, size[1] // 4)
    np.testing.assert_array_equal(unpack_image(packed), image)
    np.testing.assert_array_equal(unpack_image(change_image(packed, lambda pixels: 255 - pixels)), 255 - image)


@pytest.mark.parametrize("size", [(8, 10), (16, 16), (0, 4), (4 * 256, 4)])
def test_other_sizes_are_refused(size):
    with pytest.raises(InvalidArgumentError, match=r"can't be packed: expected multiples of the patch size of 4 px"):
        pack_image(random_image(*size), patch_size=4, max_num_patches=9 if size[0] < 1000 else 256)


@pytest.mark.parametrize("max_num_patches", [1, 64, 256, 577, 1024])
def test_images_are_resized_as_transformers_resizes_them(max_num_patches):
    module = pytest.importorskip("transformers.models.siglip2.image_processing_pil_siglip2")
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (16, 16), (480, 640), (3000, 2000), (17, 4000), *rng.integers(1, 3000, (40, 2)).tolist()]
    for height, width in sizes:
        expected = module.get_image_size_for_max_num_patches(height, width, 16, max_num_patches)
        rows, columns = fit_grid(height, width, patch_size=16, max_num_patches=max_num_patches)
        assert (16 * rows, 16 * columns) == tuple(min(side, 16 * PADDING) for side in expected)
        assert 1 <= rows * columns <= max_num_patches
