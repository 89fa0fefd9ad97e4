"""The pixel range of arrays: an overshooting pixel, a split with another scale, 16 bits."""

import io
import json
import logging

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import vit_keras as vk
from vit_keras.data import Preprocessing, load
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.errors import DataError, InvalidArgumentError

LABELS = np.arange(40) % 2
BYTES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype("uint8")
UNIT = BYTES.astype("float32") / 255


def overshooting(images, value=1.0000001):
    images = images.copy()
    images[3, 2, 1, 0] = value
    return images


def same_as_bytes(data, changed=()):
    """Asserts that every image equals the same image as bytes, and returns the decisions."""
    expected = load((BYTES, LABELS))
    for name, split in expected.splits.items():
        different = (split.images != data.splits[name].images).sum()
        assert different <= len(changed), name
    return data.decisions


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_pixels_from_0_to_1_are_recognized_and_scaled(dtype, caplog):
    data = load(((BYTES / 255).astype(dtype), LABELS))
    assert same_as_bytes(data) == (f"{dtype} pixels from 0 to 1 read as 0..1, scaled to 0..255",)
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING] == list(data.decisions)


@pytest.mark.parametrize("value", [1.0000001, 1.2, -0.1])
def test_an_overshooting_pixel_does_not_make_0_to_1_into_0_to_255(value):
    data = load((overshooting(UNIT, value), LABELS))
    (decision,) = same_as_bytes(data, changed=[value])
    assert decision.endswith("read as 0..1, scaled to 0..255; 1 value outside clipped")


def test_pixels_a_bicubic_resize_made_are_clipped_as_pillow_clips_them():
    edge = np.zeros((8, 8), "float32")
    edge[:, 4:] = 1
    resized = np.asarray(Image.fromarray(edge).resize((20, 20), Image.Resampling.BICUBIC))
    assert resized.max() > 1.02
    wanted = np.round(resized * 255).clip(0, 255).astype("uint8")
    floats = np.tile(resized[..., None], (40, 1, 1, 1))
    for scaled in (floats, floats * 255):
        for image in load((scaled, LABELS)).splits["train"].images:
            np.testing.assert_array_equal(image[..., 0], wanted)


@pytest.mark.parametrize(
    ("images", "pixel_range"),
    [
        (UNIT, (0, 1)),
        (UNIT * 2 - 1, (-1, 1)),
        (BYTES.astype("float32"), (0, 255)),
        (BYTES.astype("uint16") * 257, (0, 65535)),
        (BYTES.astype("int16") - 128, (-128, 127)),
    ],
)
def test_a_stated_range_is_what_is_read(images, pixel_range):
    (decision,) = same_as_bytes(load((images, LABELS), pixel_range=pixel_range))
    assert "(given as pixel_range)" in decision


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (UNIT * 2 - 1, r"from -1 to 1 \(float32\).*pixel_range=\(-1, 1\)"),
        ((UNIT - 0.45) / 0.22, "undo a normalization by mean and standard deviation"),
        (BYTES.astype("uint16") * 257, r"pixel_range=\(0, 65535\) for 16 bits"),
        (BYTES.astype("int16") - 128, "expected 0..255"),
        ((BYTES > 127).astype("int64"), r"may be 0..1 or very dark 0..255"),
        (UNIT * 4, "may be 0..1 or very dark 0..255"),
        (overshooting(UNIT, 40.0), "39 of 40 images have no pixel above 1"),
        (np.concatenate([UNIT[:20], BYTES[20:].astype("float32")]), "20 of 40 images have no pixel above 1"),
        (overshooting(BYTES.astype("float32"), np.nan), "1 NaN or infinite pixel, the first in image 3"),
    ],
)
def test_an_unclear_range_is_an_error_that_says_how_to_fix_it(images, message):
    with pytest.raises(DataError, match=message):
        load((images, LABELS))


def test_uint8_is_0_to_255_however_dark_and_floats_of_zero_or_one_are_black_and_white():
    data = load((BYTES % 2, LABELS))
    assert (data.decisions, data.splits["train"].images.max()) == ((), 1)
    assert load((np.zeros((40, 8, 8, 3), "float32"), LABELS)).splits["train"].images.max() == 0
    masks = (BYTES > 127).astype("float32")
    assert sorted(np.unique(load((masks, LABELS)).splits["train"].images)) == [0, 255]


def test_splits_of_different_scales_are_an_error():
    for test in (BYTES.astype("float32"), BYTES):
        with pytest.raises(DataError, match=r"splits have different pixel ranges.*train: .*from 0 to 1.*test: "):
            load({"train": (UNIT, LABELS), "test": (test, LABELS)})


def test_the_range_is_decided_for_all_splits_together():
    black = {"train": (np.zeros_like(UNIT), LABELS), "validation": (UNIT, LABELS), "test": (UNIT, LABELS)}
    np.testing.assert_array_equal(load(black).splits["test"].images, BYTES)
    overshot = {"train": (UNIT, LABELS), "test": (overshooting(UNIT), LABELS)}
    np.testing.assert_array_equal(load(overshot).splits["test"].images[4:], BYTES[4:])


def test_a_tf_data_set_is_read_by_the_same_rule_however_it_is_batched():
    import tensorflow as tf

    images = overshooting(UNIT)
    images[:9] *= 0.0  # the first batches are black
    expected, pairs = load((images, LABELS)), tf.data.Dataset.from_tensor_slices((images, LABELS))
    for data in (load(pairs.batch(7)), load(pairs)):
        assert (data.fingerprint, data.decisions) == (expected.fingerprint, expected.decisions)


def test_a_large_data_set_whose_later_images_have_another_scale_is_an_error(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr("vit_keras.data.sources.arrays._UNDECIDED_BYTES", 1000)
    assert same_as_bytes(load(tf.data.Dataset.from_tensor_slices((UNIT, LABELS)).batch(10)))
    later = np.concatenate([UNIT[:30], BYTES[30:].astype("float32")])
    with pytest.raises(DataError, match="pixel"):
        load(tf.data.Dataset.from_tensor_slices((later, LABELS)).batch(10))


def test_resized_floats_are_resized_bytes():
    rule = Preprocessing(image_size=(5, 6))
    assert load((UNIT, LABELS), preprocessing=rule).fingerprint == load((BYTES, LABELS), preprocessing=rule).fingerprint


@pytest.mark.parametrize("pixel_range", ["unit", (1, 0), 255, (0, "1"), (0, float("nan"))])
def test_an_illegal_range_or_one_that_does_not_fit_is_an_error(pixel_range):
    with pytest.raises(InvalidArgumentError, match=r"expected \"auto\", or the values of black and white"):
        load((UNIT, LABELS), pixel_range=pixel_range)
    for images in (BYTES, UNIT * 2 - 1):
        with pytest.raises(DataError, match=r"does not fit pixel_range=\(0, 1\)"):
            load((images, LABELS), pixel_range=(0, 1))


def test_a_scale_that_was_decided_stays():
    scale = PixelScale()
    scale.look("train", UNIT)
    assert scale.decide() == (0.0, 1.0)
    scale.look("train", np.full((400, 8, 8, 3), 200.0))
    with pytest.raises(DataError, match="images have no pixel above 1"):
        scale.decide()


def test_explanations_refuse_pixels_from_0_to_1(tiny_model):
    images = np.random.default_rng(0).random((2, 16, 16, 3), dtype="float32")
    with pytest.raises(DataError, match=r"nearly all pixels are from 0 to 1, .* itself: multiply by 255"):
        vk.explain.attention_rollout(tiny_model, images)
    with pytest.raises(DataError, match=r"many pixels are negative, .* leave out the normalization"):
        vk.explain.attention_rollout(tiny_model, images * 2 - 1)
    assert vk.explain.attention_rollout(tiny_model, images * 255).shape == (2, 2, 2)


def test_a_run_reports_how_the_pixels_were_read(tiny_model, tmp_path):
    shown, run = io.StringIO(), tmp_path / "run"
    images = np.random.default_rng(0).random((40, 16, 16, 3), dtype="float32")
    data, console = (images, np.arange(40) % 3), Console(file=shown, width=200)
    vk.finetune(tiny_model, data, method="linear_probe", run_dir=run, console=console)
    words = "read as 0..1, scaled to 0..255"
    assert f"read     float32 pixels from {images.min():.9g} to {images.max():.9g} {words}" in shown.getvalue()
    (decision,) = json.loads((run / "run.json").read_text())["data"]["decisions"]
    assert decision.endswith(words)
    for page in ("report.html", "model/README.md"):
        assert words in (run / page).read_text()
