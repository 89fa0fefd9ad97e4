"""Images of a program's own become one batch, packed as transformers' image processor packs them."""

import numpy as np
import pytest
from PIL import Image

import vit_keras as vk
from vit_keras.data import Preprocessing, packed_grid, preprocess_images, unpack_image
from vit_keras.errors import DataError, InvalidArgumentError

PACKING = Preprocessing(image_size=(64, 64), interpolation="bilinear", patch_size=8, max_num_patches=20)


def photos():
    rng = np.random.default_rng(0)
    sizes = ((30, 90), (120, 50), (64, 64), (9, 200), (8, 8))
    return [rng.integers(0, 256, (*size, 3)).astype("uint8") for size in sizes]


def test_packed_batches_have_the_pixels_of_transformers():
    module = pytest.importorskip("transformers.models.siglip2.image_processing_pil_siglip2")
    processor = module.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20)
    expected = processor(photos(), return_tensors="np")
    found = preprocess_images(photos(), PACKING)
    for packed, shape in zip(found, expected["spatial_shapes"], strict=True):
        assert packed_grid(packed) == tuple(shape)
    mask = np.asarray(expected["pixel_attention_mask"]).astype(bool)
    np.testing.assert_array_equal(found[:, :, 0, 0] != 255, mask)
    pixels = found[:, :, 2:].reshape(*mask.shape, -1).astype("float32") / 127.5 - 1
    np.testing.assert_allclose(pixels[mask], np.asarray(expected["pixel_values"])[mask], atol=1e-5)


def test_paths_pil_images_and_arrays_give_the_same(tmp_path):
    arrays = photos()[:2]
    pictures = [Image.fromarray(array) for array in arrays]
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    expected = preprocess_images(arrays, PACKING)
    np.testing.assert_array_equal(preprocess_images(pictures, PACKING), expected)
    np.testing.assert_array_equal(preprocess_images([str(paths[0]), paths[1]], PACKING), expected)
    plain = Preprocessing(image_size=(16, 24), channels=1)
    assert preprocess_images(arrays, plain).shape == (2, 16, 24, 1)


def test_an_image_of_a_whole_number_of_patches_keeps_its_pixels():
    image = photos()[2][:32, :40]
    np.testing.assert_array_equal(unpack_image(preprocess_images([image], PACKING)[0]), image)


@pytest.mark.parametrize("images", [[], "cat.jpg", [np.zeros((4, 4))], [np.zeros((4, 4, 3))], [3]])
def test_what_is_no_list_of_images_is_refused(images):
    with pytest.raises(DataError, match=r"expected a (list|path)"):
        preprocess_images(images, PACKING)


def test_packing_needs_both_numbers_and_is_written_only_where_it_is_stated():
    with pytest.raises(InvalidArgumentError, match="are not both None or both positive integers"):
        Preprocessing(image_size=(64, 64), patch_size=8)
    assert Preprocessing.from_dict(PACKING.to_dict()) == PACKING
    assert "patch_size" not in Preprocessing(image_size=(64, 64)).to_dict()
    preset = vk.data.preset_preprocessing("naflexvit_base_patch16_siglip", weights="v2_webli")
    assert preset.image_shape == (256, 258, 3)
