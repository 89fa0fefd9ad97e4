import json
import math

import numpy as np
import pytest

from vit_keras.data import Augmentation
from vit_keras.data.augment.augmentation import STRENGTHS, resolve_augmentation
from vit_keras.errors import InvalidArgumentError

EVERYTHING = Augmentation(
    flip_rate=0.5, rotation=20, zoom=0.3, stretch=0.2, shift=0.2, hue=90, saturation=0.5, contrast=0.5, brightness=0.3,
    grayscale_rate=0.3, invert_rate=0.3, erase_rate=0.5,
)  # fmt: skip
LUMA = np.array([0.299, 0.587, 0.114])


def applied(images, seed=(0, 0), **numbers):
    augmentation = numbers.pop("augmentation", None) or Augmentation(**numbers)
    return np.asarray(augmentation.apply(images, seed=np.array(seed)))


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (40, 8, 12, 3)).astype("uint8")


@pytest.fixture
def middling(rng):
    """Pixels that stay inside 0..255 after any change."""
    return rng.uniform(100, 155, (200, 4, 6, 3)).astype("float32")


def test_zero_everywhere_leaves_the_images_alone(images):
    result = applied(images)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, images)


def test_flip_rate_one_flips_exactly(images):
    np.testing.assert_array_equal(applied(images, flip_rate=1), images[:, :, ::-1])


def test_rotation_turns_about_the_center_within_its_range():
    bar = np.zeros((300, 33, 33, 1), "uint8")
    bar[:, 16, 16:] = 255  # from the center to the right
    turned = applied(bar, rotation=30)
    rows, columns = np.mgrid[:33, :33] - 16
    angles = [
        math.degrees(math.atan2((image[..., 0] * rows).sum(), (image[..., 0] * columns).sum())) for image in turned
    ]
    assert 28 < max(angles) < 31
    assert -31 < min(angles) < -28
    np.testing.assert_allclose(turned[:, 16, 16, 0], 255, atol=0.5)


def side_lengths(**numbers):
    """Returns height and width that a square of 16 px has after the augmentation."""
    square = np.zeros((500, 64, 64, 1), "uint8")
    square[:, 24:40, 24:40] = 255
    changed = applied(square, **numbers)[..., 0] / 255
    return changed[:, :, 31:33].sum(axis=1).mean(axis=1), changed[:, 31:33].sum(axis=2).mean(axis=1)


def test_zoom_changes_both_sides_alike_within_its_range():
    height, width = side_lengths(zoom=0.5)
    np.testing.assert_allclose(height, width, rtol=1e-3)
    factors = np.log(height / 16)
    assert 0.45 < factors.max() < 0.52
    assert -0.52 < factors.min() < -0.45


def test_stretch_changes_one_side_against_the_other_within_its_range():
    height, width = side_lengths(stretch=0.5)
    ratios = np.log(height / width)
    assert 0.45 < ratios.max() < 0.52
    assert -0.52 < ratios.min() < -0.45
    np.testing.assert_allclose(height * width, 256, rtol=0.03)


def test_shift_moves_along_each_axis_within_its_range():
    dot = np.zeros((500, 20, 40, 1), "uint8")
    dot[:, 9:11, 19:21] = 255
    moved = applied(dot, shift=0.2)[..., 0]
    weight = moved.sum(axis=(1, 2))
    down = (moved * np.arange(20)[:, None]).sum(axis=(1, 2)) / weight - 9.5
    right = (moved * np.arange(40)).sum(axis=(1, 2)) / weight - 19.5
    for move, side in ((down, 20), (right, 40)):
        assert 0.18 * side < move.max() < 0.2 * side + 0.01
        assert -0.2 * side - 0.01 < move.min() < -0.18 * side
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.2


def test_edges_are_repeated_beyond_the_image():
    images = np.full((20, 8, 8, 3), (10, 200, 90), "uint8")
    np.testing.assert_allclose(applied(images, shift=0.4, rotation=40, zoom=0.4), images, atol=1e-3)


def test_hue_rotates_about_the_gray_axis_within_its_range(middling):
    def angle(pixels):
        red, green, blue = np.moveaxis(pixels, -1, 0)
        return np.arctan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)

    turned = applied(middling, hue=40)
    np.testing.assert_allclose(turned.mean(axis=-1), middling.mean(axis=-1), atol=1e-2)  # position along the gray axis
    np.testing.assert_allclose(turned.std(axis=-1), middling.std(axis=-1), atol=1e-2)  # distance from it
    turns = np.degrees(np.angle(np.exp(1j * (angle(turned) - angle(middling)))))
    of_image = np.median(turns, axis=(1, 2))
    assert 36 < np.abs(of_image).max() < 40.1
    assert of_image.min() < 0 < of_image.max()
    gray = np.repeat(np.arange(0, 250, 10, dtype="float32"), 3).reshape(1, 5, 5, 3)
    np.testing.assert_allclose(applied(gray, hue=180), gray, atol=1e-3)


def test_saturation_scales_the_distance_from_the_luma_within_its_range(middling):
    changed = applied(middling, saturation=0.3)
    luma = middling @ LUMA
    np.testing.assert_allclose(changed @ LUMA, luma, atol=1e-2)
    factor = np.median((changed - luma[..., None]) / (middling - luma[..., None]), axis=(1, 2, 3))
    assert 0.27 < np.log(factor).max() < 0.301
    assert -0.301 < np.log(factor).min() < -0.27


def test_grayscale_rate_one_gives_the_luma_in_every_channel(images):
    result = applied(images, grayscale_rate=1)
    np.testing.assert_allclose(result, np.repeat((images @ LUMA)[..., None], 3, axis=-1), atol=1e-2)


def test_invert_rate_one_gives_the_negative(images):
    np.testing.assert_array_equal(applied(images, invert_rate=1), 255 - images.astype("float32"))


def test_contrast_scales_about_the_middle_within_its_range(middling):
    factor = np.median((applied(middling, contrast=0.4) - 127.5) / (middling - 127.5), axis=(1, 2, 3))
    assert 0.36 < np.log(factor).max() < 0.401
    assert -0.401 < np.log(factor).min() < -0.36


def test_brightness_moves_every_pixel_alike_within_its_range(middling):
    moves = applied(middling, brightness=0.2) - middling
    np.testing.assert_allclose(moves, moves[:, :1, :1, :1] * np.ones_like(moves), atol=1e-3)
    assert 0.18 * 255 < moves.max() < 0.2 * 255 + 0.01
    assert -0.2 * 255 - 0.01 < moves.min() < -0.18 * 255


def test_erase_rate_one_paints_one_rectangle_of_one_colour_on_each_image():
    painted = applied(np.full((300, 20, 30, 3), 7, "uint8"), erase_rate=1)
    heights, widths = [], []
    for image in painted:
        rows, columns = np.nonzero((image != 7).any(axis=-1))
        patch = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert len(rows) == patch.shape[0] * patch.shape[1]
        assert (patch == patch[0, 0]).all()
        heights.append(patch.shape[0])
        widths.append(patch.shape[1])
    assert 10 < max(heights) <= 0.6 * 20 + 1
    assert 15 < max(widths) <= 0.6 * 30 + 1
    assert min(heights) >= 0.1 * 20 - 1  # the rest may be outside the image
    assert min(widths) >= 0.1 * 30 - 1


@pytest.mark.parametrize("rate", ["flip_rate", "grayscale_rate", "invert_rate", "erase_rate"])
def test_a_rate_changes_that_fraction_of_the_images(rng, rate):
    images = rng.integers(0, 256, (1000, 6, 6, 3)).astype("uint8")
    changed = (applied(images, **{rate: 0.25}) != images).any(axis=(1, 2, 3))
    assert 0.2 < changed.mean() < 0.3


def test_each_image_draws_for_itself():
    same = np.tile(np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3)), (16, 1, 1, 1)).astype("uint8")
    for number in ("rotation", "zoom", "stretch", "shift", "hue", "saturation", "contrast", "brightness"):
        results = applied(same, **{number: 0.3 if number not in ("rotation", "hue") else 30})
        assert len({image.tobytes() for image in results}) == 16, number


def test_the_seed_determines_the_bytes(images):
    first, second = (applied(images, seed=(3, 4), augmentation=EVERYTHING) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    for seed in ((3, 5), (4, 4), (4, 3)):
        assert (first != applied(images, seed=seed, augmentation=EVERYTHING)).any()


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
@pytest.mark.parametrize("shape", [(30, 9, 7, 3), (30, 9, 7, 1), (1, 1, 1, 3)])
def test_pixels_stay_from_0_to_255_in_float32_and_of_the_same_shape(rng, shape, dtype):
    result = applied(rng.integers(0, 256, shape).astype(dtype), augmentation=EVERYTHING)
    assert result.shape == shape
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 255


def test_gray_images_keep_their_colors(rng):
    images = rng.integers(0, 256, (20, 6, 6, 1)).astype("uint8")
    np.testing.assert_array_equal(applied(images, hue=90, saturation=1, grayscale_rate=1), images)


def test_it_works_inside_tf_data_and_gives_the_same_there(images):
    import tensorflow as tf

    def augment(batch):
        return EVERYTHING.apply(batch, seed=tf.constant([3, 4]))

    (inside,) = tf.data.Dataset.from_tensors(images).map(augment)
    np.testing.assert_allclose(inside.numpy(), applied(images, seed=(3, 4), augmentation=EVERYTHING), atol=1e-2)


def test_images_that_are_only_flipped_stay_bytes(rng):
    images = rng.integers(0, 256, (300, 5, 7, 3)).astype("uint8")
    result = applied(images, flip_rate=0.5)
    assert result.dtype == np.uint8
    mirrored = (result == images[:, :, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(result, np.where(mirrored[:, None, None, None], images[:, :, ::-1], images))
    assert 0.4 < mirrored.mean() < 0.6
    negatives = applied(images, flip_rate=1, invert_rate=1)
    np.testing.assert_array_equal(negatives, 255 - images[:, :, ::-1].astype("float32"))


def test_an_image_does_not_depend_on_its_neighbours(images):
    others = 255 - images
    others[[0, 7, 39]] = images[[0, 7, 39]]
    alone, among_others = (applied(batch, seed=(3, 4), augmentation=EVERYTHING) for batch in (images, others))
    np.testing.assert_array_equal(alone[[0, 7, 39]], among_others[[0, 7, 39]])


def test_json_gives_every_field_back():
    for augmentation in (EVERYTHING, *STRENGTHS.values()):
        again = Augmentation.from_dict(json.loads(json.dumps(augmentation.to_dict())))
        assert (again, hash(again)) == (augmentation, hash(augmentation))


@pytest.mark.parametrize(
    ("numbers", "per_image", "mixes"),
    [
        ({}, False, False),
        ({"flip_rate": 0.5, "rotation": 3}, False, False),
        ({"crop_scale": (0.5, 1.0)}, True, False),
        ({"policy": "rand-m9"}, True, False),
        ({"mixup_alpha": 0.2}, False, True),
        ({"cutmix_alpha": 1.0}, False, True),
        ({"cutmix_alpha": 1.0, "mix_rate": 0.0}, False, False),
    ],
)
def test_per_image_and_mixes(numbers, per_image, mixes):
    augmentation = Augmentation(**numbers)
    assert (augmentation.per_image, augmentation.mixes) == (per_image, mixes)


def test_a_strength_has_a_name():
    assert resolve_augmentation(None) == resolve_augmentation("none") == Augmentation()
    assert resolve_augmentation("strong") is STRENGTHS["strong"]
    assert resolve_augmentation(EVERYTHING) is EVERYTHING
    for name in ("", "Strong", 3, ["strong"], {"flip_rate": 0.5}):
        with pytest.raises(InvalidArgumentError, match="none, moved, light, medium, strong, 3-augment"):
            resolve_augmentation(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("crop_scale", value) for value in ((0.0, 1.0), (0.5, 0.2), (0.5, 1.5), (0.5,), 0.5, "ab", (0.1, math.nan))),
        *(("crop_ratio", value) for value in ((0.0, 1.0), (2.0, 1.0), (1.0, math.inf), None, 1.0)),
        *(("policy", value) for value in ("rand-m9-x3", "rnad", None, 3, ["invert"])),
        *(("repeats", value) for value in (0, -1, 1.0, True, "2")),
        *(("mix_rate", value) for value in (-0.1, 1.1, None)),
        *(("cutmix_alpha", value) for value in (-0.1, math.nan, True)),
        *(("zoom", value) for value in (-0.1, math.nan, math.inf, "0.5", None, [0.5])),
    ],
)
def test_an_illegal_value_is_named(name, value):
    with pytest.raises(InvalidArgumentError, match=name):
        Augmentation(**{name: value})


def test_all_problems_are_reported_at_once():
    with pytest.raises(InvalidArgumentError, match=r"mix_rate=2.*crop_scale=\(2, 1\).*repeats=0.*rand-m9-x3.*'x3'"):
        Augmentation(crop_scale=(2, 1), policy="rand-m9-x3", mix_rate=2, repeats=0)
