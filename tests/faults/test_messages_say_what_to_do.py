"""Mistakes of a first hour: images as torch has them, labels from 1, lists of files; the message says how to go on."""

import numpy as np
import pytest

import vit_keras as vk
from vit_keras.errors import DataError, InvalidArgumentError

IMAGES, LABELS = np.zeros((12, 8, 8, 3), "uint8"), np.arange(12) % 3
FIRST = IMAGES.transpose(0, 3, 1, 2)

pytestmark = pytest.mark.any_backend


@pytest.fixture(scope="module")
def model():
    return vk.vit(
        vk.ViTConfig(image_size=8, patch_size=4, hidden_dim=8, num_layers=1, num_heads=1, mlp_dim=8), num_classes=3
    )


def test_channels_that_come_first_are_recognized_everywhere(model):
    for use, error in (
        (lambda: vk.data.load((FIRST, LABELS)), DataError),
        (lambda: vk.predict(model, FIRST), InvalidArgumentError),
        (lambda: vk.explain.attention_rollout(model, FIRST), DataError),
    ):
        with pytest.raises(error, match=r"The channels seem to come first; transpose to \(0, 2, 3, 1\)"):
            use()
    with pytest.raises(InvalidArgumentError, match=r"first; transpose to \(1, 2, 0\)"):
        vk.predict(model, FIRST[0])
    with pytest.raises(InvalidArgumentError, match=r"with 1 or 3 channels.$"):
        vk.predict(model, np.zeros((2, 8, 8, 4), "uint8"))
    with pytest.raises(DataError, match=r"the model takes \(8, 8, 3\). Resize them"):
        vk.explain.attention_rollout(model, np.zeros((2, 9, 8, 3), "uint8"))


def test_labels_that_start_at_1_are_named():
    with pytest.raises(DataError, match=r"Class '0' has 0 readable images.* subtract 1 from labels that start at 1"):
        vk.data.load((IMAGES, LABELS + 1))
    with pytest.raises(DataError, match=r"Class '1' has 0 readable images; it needs one, to train.$"):
        vk.data.load((IMAGES, LABELS * 2))


def test_files_in_place_of_pixels_are_sent_to_what_reads_them(model):
    files = [f"{number}.png" for number in range(12)]
    with pytest.raises(DataError, match=r"read from a table: pandas.DataFrame"):
        vk.data.load((files, LABELS), image_size=8)
    with pytest.raises(DataError, match=r"vk\.data.preprocess_images"):
        vk.explain.attention_rollout(model, files)


@pytest.mark.parametrize("name", ["vit_nano_conv8_32", "vit_nano_conv8_32:drawings", "google/vit-base-patch16-224"])
def test_a_model_in_the_place_of_the_images_is_named(name):
    with pytest.raises(DataError, match="is a model and no data set: the model is named first"):
        vk.data.load(name, image_size=32)


def test_an_archive_is_to_be_unpacked(tmp_path):
    for name in ("photos.zip", "photos.RAR"):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(DataError, match=r"Unpack the archive first\.$"):
            vk.data.load(tmp_path / name, image_size=32)


def test_a_budget_that_is_none_is_shown_in_its_own_words():
    from vit_keras.tuning.strategy.budget import Budget

    for limits, said in (
        ({"seconds": 0.0}, "got 0.0 seconds"),
        ({"trials": 1, "epochs": 2}, "got 1 trials, 2 epochs"),
        ({}, "got none"),
    ):
        with pytest.raises(InvalidArgumentError, match=rf"exactly one positive limit.*; {said}\.$"):
            Budget(**limits)
