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


def test_a_photo_of_any_mode_is_resized_as_timm_does(references, files):
    assert {name.split("/")[0] for name in references} == set(files)
    assert {name.split("/")[1] for name in references} == set(RULES)
    assert len(references) == 20
    for key, reference in references.items():
        name, rule = key.split("/")
        ours = to_pixels(Preprocessing(**RULES[rule]).apply(Picture(files[name], name).decode())).astype(int)
        difference = np.abs(ours - reference)
        assert difference.mean() <= 1, key
        assert difference.max() <= 3, key


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("size", [(9, 8), (300, 200), (20, 301)])
def test_the_size_is_always_the_one_asked_for(size, crop_mode):
    for image_size, crop in (((16, 16), 1.0), ((17, 40), 0.875)):
        rule = Preprocessing(image_size=image_size, crop=crop, crop_mode=crop_mode)
        assert to_pixels(rule.apply(Image.new("RGB", size))).shape == (*image_size, 3)


def test_squash_keeps_the_corners_center_cuts_them_and_border_frames_the_image_in_gray():
    image = Image.new("L", (90, 30), 0)
    image.paste(255, (0, 0, 30, 30))
    small = {"image_size": (30, 30), "channels": 1, "interpolation": "nearest"}
    squashed = to_pixels(Preprocessing(**small, crop_mode="squash").apply(image))
    assert (squashed[:, :10] == 255).all()
    assert (squashed[:, 10:] == 0).all()
    assert (to_pixels(Preprocessing(**small).apply(image)) == 0).all()
    framed = to_pixels(Preprocessing(image_size=(30, 30), crop_mode="border").apply(Image.new("RGB", (60, 20), "red")))
    assert (framed[[*range(10), *range(20, 30)]] == 128).all()
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


@pytest.mark.parametrize(
    ("name", "size", "at_least", "decoded"),
    [
        ("jpeg", (500, 375), (240, 180), (250, 188)),
        ("jpeg", (500, 375), (251, 100), (500, 375)),
        ("jpeg_exif_6", (200, 320), (100, 160), (100, 160)),
    ],
)
def test_a_large_jpeg_is_decoded_no_larger_than_needed(files, name, size, at_least, decoded):
    picture = Picture(files[name], "photo")
    assert (picture.size, picture.decode(at_least=at_least).size) == (size, decoded)


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
    message = r"'vit_tiny_patch16_224' has no weights 'nowhere': its tags are augreg"
    with pytest.raises(InvalidArgumentError, match=message):
        preset_preprocessing("vit_tiny_patch16_224", weights="nowhere")
