from pathlib import Path

import numpy as np
import pytest
from photos import RULES, photos
from PIL import Image

from vit_keras.data.images.decode import Picture
from vit_keras.data.images.preprocess import CROP_MODES, INTERPOLATIONS, Preprocessing, preset_preprocessing, to_pixels
from vit_keras.errors import InvalidArgumentError

REFERENCES = Path(__file__).parents[2] / "golden" / "transforms.npz"


@pytest.fixture(scope="module")
def references():
    with np.load(REFERENCES, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def files():
    return photos()


def test_there_are_twenty_references_and_every_rule_is_among_them(references, files):
    assert {name.split("/")[0] for name in references} == set(files)
    assert len(references) == 20
    assert {name.split("/")[1] for name in references} == set(RULES)


@pytest.mark.parametrize("number", range(20))
def test_a_photo_of_any_mode_is_resized_as_timm_does(references, files, number):
    key = list(references)[number]
    name, rule = key.split("/")
    picture = Picture(files[name], name)
    ours = to_pixels(Preprocessing(**RULES[rule]).apply(picture.decode())).astype(int)
    difference = np.abs(ours - references[key])
    assert difference.mean() <= 1
    assert difference.max() <= 3


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("crop", [0.875, 1.0])
@pytest.mark.parametrize("size", [(9, 8), (300, 200), (20, 301)])
@pytest.mark.parametrize("image_size", [(16, 16), (17, 40)])
def test_the_size_is_always_the_one_asked_for(size, image_size, crop, crop_mode):
    rule = Preprocessing(image_size=image_size, crop=crop, crop_mode=crop_mode)
    assert to_pixels(rule.apply(Image.new("RGB", size))).shape == (*image_size, 3)


def test_squash_keeps_the_corners_and_center_cuts_them():
    image = Image.new("L", (90, 30), 0)
    image.paste(255, (0, 0, 30, 30))
    squashed = to_pixels(
        Preprocessing(image_size=(30, 30), channels=1, crop_mode="squash", interpolation="nearest").apply(image)
    )
    centered = to_pixels(Preprocessing(image_size=(30, 30), channels=1, interpolation="nearest").apply(image))
    assert (squashed[:, :10] == 255).all()
    assert (squashed[:, 10:] == 0).all()
    assert (centered == 0).all()


def test_a_border_is_grey_and_the_image_whole():
    framed = to_pixels(Preprocessing(image_size=(30, 30), crop_mode="border").apply(Image.new("RGB", (60, 20), "red")))
    assert (framed[:10] == 128).all()
    assert (framed[20:] == 128).all()
    assert (framed[10:20] == (255, 0, 0)).all()


def test_a_box_is_cut_where_the_image_ends():
    image = Image.fromarray(np.arange(64, dtype="uint8").reshape(8, 8))
    rule = Preprocessing(image_size=(8, 8), channels=1)
    np.testing.assert_array_equal(to_pixels(rule.resize_box(image, (-0.4, 0, 8.3, 8)))[..., 0], np.asarray(image))


def test_every_fault_is_named_at_once():
    with pytest.raises(InvalidArgumentError) as caught:
        Preprocessing(image_size=(0, 8), channels=4, crop=1.5, crop_mode="fit", interpolation="spline")
    for told in ("image_size=(0, 8)", "channels=4", "crop=1.5", "crop_mode='fit'", *CROP_MODES, *INTERPOLATIONS):
        assert told in str(caught.value)


def test_a_large_jpeg_is_decoded_no_larger_than_needed(files):
    picture = Picture(files["jpeg"], "photo")
    assert picture.size == (500, 375)
    assert picture.decode(at_least=(240, 180)).size == (250, 188)
    assert Picture(files["jpeg"], "photo").decode(at_least=(251, 100)).size == (500, 375)


def test_a_jpeg_on_its_side_is_decoded_no_larger_than_needed(files):
    picture = Picture(files["jpeg_exif_6"], "photo")
    assert picture.size == (200, 320)
    assert picture.decode(at_least=(100, 160)).size == (100, 160)


def test_half_the_size_is_nearly_the_same_picture(files):
    whole = Picture(files["jpeg"], "photo").decode().resize((125, 94), Image.Resampling.BICUBIC)
    half = Picture(files["jpeg"], "photo").decode(at_least=(250, 187)).resize((125, 94), Image.Resampling.BICUBIC)
    other = Image.fromarray(np.asarray(whole)[:, ::-1])
    difference = np.abs(np.asarray(whole, int) - np.asarray(half, int)).mean()
    assert 10 * difference < np.abs(np.asarray(whole, int) - np.asarray(other, int)).mean()


def test_a_checkpoint_has_its_own_rule():
    rule = preset_preprocessing("vit_base_patch16_clip_384", weights="openai_ft_in12k_in1k")
    assert (rule.image_size, rule.crop, rule.crop_mode) == ((384, 384), 0.95, "squash")
    assert preset_preprocessing("vit_base_patch16_224") == Preprocessing(image_size=(224, 224))


def test_a_tag_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(
        InvalidArgumentError, match=r"'vit_tiny_patch16_224' has no weights 'nowhere': its tags are \['augreg"
    ):
        preset_preprocessing("vit_tiny_patch16_224", weights="nowhere")
