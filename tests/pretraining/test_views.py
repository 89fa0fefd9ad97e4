import numpy as np
import pytest
from keras import ops, random
from PIL import Image

from vit_keras.errors import InvalidArgumentError
from vit_keras.pretraining.views import ViewOptions, _resize_matrix, draw_views

PLAIN = {"flip_rate": 0.0, "jitter_rate": 0.0, "grayscale_rate": 0.0, "solarize_rate": 0.0}


def numpy_views(images, options, seed=3):
    return ops.convert_to_numpy(draw_views(ops.convert_to_tensor(images), options, seed=seed))


@pytest.mark.any_backend
def test_a_crop_is_resized_as_pillow_does(rng):
    image = rng.uniform(0, 255, (20, 20)).astype("float32")
    for left, top, across, down in ((0.1, 0.25, 0.5, 0.6), (0.0, 0.0, 1.0, 1.0), (0.3, 0.5, 0.7, 0.5)):
        box = (20 * left, 20 * top, 20 * (left + across), 20 * (top + down))
        expected = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR, box=box))
        columns, rows = (
            ops.convert_to_numpy(_resize_matrix(ops.convert_to_tensor([start]), ops.convert_to_tensor([length]), 20))[0]
            for start, length in ((left, across), (top, down))
        )
        np.testing.assert_allclose(rows @ image @ columns.T, expected, atol=0.02)


def test_views_are_crops_of_the_asked_area_and_flips_are_mirrored(rng):
    ramp = np.zeros((64, 32, 32, 3), "float32")
    ramp[..., 0], ramp[..., 1] = np.arange(32), np.arange(32)[:, None]
    views = numpy_views(ramp, ViewOptions(scale=(0.2, 0.5), **PLAIN))
    across, down = ((views[:, 16, 30, 0] - views[:, 16, 1, 0]) / 29, (views[:, 30, 16, 1] - views[:, 1, 16, 1]) / 29)
    area = across * down  # as fractions of the sides, since a pixel of the view is so many of the image
    assert 0.19 < area.min() < 0.27
    assert 0.43 < area.max() < 0.51
    assert (np.abs(np.log(across / down)) < np.log(4 / 3) + 0.01).all()
    flipped = numpy_views(ramp, ViewOptions(scale=(0.2, 0.5), **{**PLAIN, "flip_rate": 1.0}))
    np.testing.assert_allclose(flipped, views[:, :, ::-1], atol=1e-3)
    half = numpy_views(ramp, ViewOptions(scale=(0.2, 0.5), **{**PLAIN, "flip_rate": 0.5}))
    assert 16 < (half[:, 16, 30, 0] < half[:, 16, 1, 0]).sum() < 48


@pytest.mark.any_backend
def test_colors_change_as_often_and_as_much_as_asked(rng):
    images = rng.integers(40, 200, (400, 8, 8, 3)).astype("uint8")
    even = np.full((400, 8, 8, 3), 100, "uint8")
    bright = numpy_views(even, ViewOptions(scale=(1.0, 1.0), **{**PLAIN, "jitter_rate": 1.0}))[:, 0, 0, 0]
    assert 59 < bright.min() < 65
    assert 135 < bright.max() < 141
    some = numpy_views(even, ViewOptions(scale=(1.0, 1.0), **{**PLAIN, "jitter_rate": 0.8}))[:, 0, 0, 0]
    assert np.mean(some == 100) == pytest.approx(0.2, abs=0.06)
    gray = numpy_views(images, ViewOptions(scale=(1.0, 1.0), **{**PLAIN, "grayscale_rate": 0.2}))
    assert np.mean(np.ptp(gray, axis=-1).max(axis=(1, 2)) < 1e-3) == pytest.approx(0.2, abs=0.06)
    plain = numpy_views(images, ViewOptions(scale=(1.0, 1.0), **PLAIN))
    solar = numpy_views(images, ViewOptions(scale=(1.0, 1.0), **{**PLAIN, "solarize_rate": 1.0}))
    np.testing.assert_allclose(solar, np.where(plain >= 128, 255 - plain, plain), atol=1e-3)
    one = numpy_views(images[..., :1], ViewOptions(scale=(0.3, 1.0)))
    assert one.shape == (400, 8, 8, 1)
    assert (one.min(), one.max()) >= (0, 100)
    assert one.max() <= 255


@pytest.mark.any_backend
def test_an_integer_seed_repeats_the_views_and_a_generator_does_not(rng):
    images = rng.integers(0, 256, (4, 8, 8, 3)).astype("uint8")
    options = ViewOptions(scale=(0.3, 1.0))
    np.testing.assert_array_equal(numpy_views(images, options), numpy_views(images, options))
    generator = random.SeedGenerator(1)
    assert np.abs(numpy_views(images, options, generator) - numpy_views(images, options, generator)).max() > 1


@pytest.mark.any_backend
def test_wrong_options_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"scale=\(0.5, 0.2\).*") as refused:
        ViewOptions(scale=(0.5, 0.2), flip_rate=2)
    assert "flip_rate=2" in str(refused.value)
