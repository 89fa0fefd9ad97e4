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


def assert_fills(values, limit, slack=0.004):
    """Asserts that values come near both ends of -limit..limit, and hardly pass them."""
    for end in (values.max(), -values.min()):
        assert 0.9 * limit < end < limit * (1 + slack)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, lambda images: images),
        ({"flip_rate": 1}, lambda images: images[:, :, ::-1]),
        ({"grayscale_rate": 1}, lambda images: np.repeat((images @ LUMA)[..., None], 3, axis=-1)),
        ({"invert_rate": 1}, lambda images: 255.0 - images),
        ({"flip_rate": 1, "invert_rate": 1}, lambda images: 255.0 - images[:, :, ::-1]),
    ],
    ids=lambda value: "+".join(value) or "nothing" if isinstance(value, dict) else "",
)
def test_a_rate_of_one_changes_every_image_exactly(images, numbers, expected):
    np.testing.assert_allclose(applied(images, **numbers), expected(images), atol=1e-2)


def test_rotation_turns_about_the_center_within_its_range():
    bar = np.zeros((300, 33, 33, 1), "uint8")
    bar[:, 16, 16:] = 255  # from the center to the right
    turned = applied(bar, rotation=30)
    rows, columns = np.mgrid[:33, :33] - 16
    angles = np.arctan2((turned[..., 0] * rows).sum((1, 2)), (turned[..., 0] * columns).sum((1, 2)))
    assert_fills(np.degrees(angles), 30, slack=0.03)
    np.testing.assert_allclose(turned[:, 16, 16, 0], 255, atol=0.5)


def test_zoom_changes_both_sides_alike_and_stretch_one_against_the_other():
    square = np.zeros((500, 64, 64, 1), "uint8")
    square[:, 24:40, 24:40] = 255

    def side_lengths(**numbers):
        changed = applied(square, **numbers)[..., 0] / 255
        return changed[:, :, 31:33].sum(axis=1).mean(axis=1), changed[:, 31:33].sum(axis=2).mean(axis=1)

    height, width = side_lengths(zoom=0.5)
    np.testing.assert_allclose(height, width, rtol=1e-3)
    assert_fills(np.log(height / 16), 0.5, slack=0.04)
    height, width = side_lengths(stretch=0.5)
    assert_fills(np.log(height / width), 0.5, slack=0.04)
    np.testing.assert_allclose(height * width, 256, rtol=0.03)


def test_shift_moves_along_each_axis_within_its_range():
    dot = np.zeros((500, 20, 40, 1), "uint8")
    dot[:, 9:11, 19:21] = 255
    moved = applied(dot, shift=0.2)[..., 0]
    weight = moved.sum(axis=(1, 2))
    down = (moved * np.arange(20)[:, None]).sum(axis=(1, 2)) / weight - 9.5
    right = (moved * np.arange(40)).sum(axis=(1, 2)) / weight - 19.5
    assert_fills(down, 0.2 * 20)
    assert_fills(right, 0.2 * 40)
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
    assert_fills(np.median(turns, axis=(1, 2)), 40)
    gray = np.repeat(np.arange(0, 250, 10, dtype="float32"), 3).reshape(1, 5, 5, 3)
    np.testing.assert_allclose(applied(gray, hue=180), gray, atol=1e-3)


def test_saturation_scales_the_distance_from_the_luma_within_its_range(middling):
    changed = applied(middling, saturation=0.3)
    luma = middling @ LUMA
    np.testing.assert_allclose(changed @ LUMA, luma, atol=1e-2)
    factor = np.median((changed - luma[..., None]) / (middling - luma[..., None]), axis=(1, 2, 3))
    assert_fills(np.log(factor), 0.3)


def test_contrast_scales_about_the_middle_within_its_range(middling):
    factor = np.median((applied(middling, contrast=0.4) - 127.5) / (middling - 127.5), axis=(1, 2, 3))
    assert_fills(np.log(factor), 0.4)


def test_brightness_moves_every_pixel_alike_within_its_range(middling):
    moves = applied(middling, brightness=0.2) - middling
    np.testing.assert_allclose(moves, moves[:, :1, :1, :1] * np.ones_like(moves), atol=1e-3)
    assert_fills(moves, 0.2 * 255)


def test_erase_rate_one_paints_one_rectangle_of_one_color_on_each_image():
    painted = applied(np.full((300, 20, 30, 3), 7, "uint8"), erase_rate=1)
    sizes = []
    for image in painted:
        rows, columns = np.nonzero((image != 7).any(axis=-1))
        patch = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert len(rows) == patch.shape[0] * patch.shape[1]
        assert (patch == patch[0, 0]).all()
        sizes.append(patch.shape[:2])
    for lengths, side in zip(np.transpose(sizes), (20, 30), strict=True):
        assert 0.5 * side < lengths.max() <= 0.6 * side + 1
        assert lengths.min() >= 0.1 * side - 1  # the rest may be outside the image


@pytest.mark.parametrize("rate", ["flip_rate", "grayscale_rate", "invert_rate", "erase_rate"])
def test_a_rate_changes_that_fraction_of_the_images(rng, rate):
    images = rng.integers(0, 256, (1000, 6, 6, 3)).astype("uint8")
    changed = (applied(images, **{rate: 0.25}) != images).any(axis=(1, 2, 3))
    assert 0.2 < changed.mean() < 0.3


def test_the_seed_determines_the_bytes(images):
    first, second = (applied(images, seed=(3, 4), augmentation=EVERYTHING) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    for seed in ((3, 5), (4, 4), (4, 3)):
        assert (first != applied(images, seed=seed, augmentation=EVERYTHING)).any()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((30, 9, 7, 3), "uint8"), ((30, 9, 7, 1), "float32"), ((1, 1, 1, 3), "float16")]
)
def test_pixels_stay_from_0_to_255_in_float32_and_of_the_same_shape(rng, shape, dtype):
    result = applied(rng.integers(0, 256, shape).astype(dtype), augmentation=EVERYTHING)
    assert (result.shape, result.dtype) == (shape, np.float32)
    assert 0 <= result.min() <= result.max() <= 255


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
    assert result.dtype == applied(images).dtype == np.uint8
    mirrored = (result == images[:, :, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(result, np.where(mirrored[:, None, None, None], images[:, :, ::-1], images))


def test_an_image_does_not_depend_on_its_neighbors(images):
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
        *(("crop_scale", value) for value in ((0.0, 1.0), (0.5, 0.2), (0.5, 1.5), (0.5,), (0.1, math.nan))),
        *(("crop_ratio", value) for value in ((0.0, 1.0), (2.0, 1.0), (1.0, math.inf), None, 1.0)),
        *(("policy", value) for value in ("rnad", None)),
        *(("repeats", value) for value in (0, 1.0, True, "2")),
        *(("mix_rate", value) for value in (1.1, None)),
        *(("cutmix_alpha", value) for value in (-0.1, math.nan, True)),
        *(("zoom", value) for value in (-0.1, math.inf, "0.5")),
    ],
)
def test_an_illegal_value_is_named(name, value):
    with pytest.raises(InvalidArgumentError, match=name):
        Augmentation(**{name: value})


def test_all_problems_are_reported_at_once():
    with pytest.raises(InvalidArgumentError, match=r"mix_rate=2.*crop_scale=\(2, 1\).*repeats=0.*rand-m9-x3.*'x3'"):
        Augmentation(crop_scale=(2, 1), policy="rand-m9-x3", mix_rate=2, repeats=0)
