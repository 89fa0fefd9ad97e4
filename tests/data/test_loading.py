from pathlib import Path

import numpy as np
import pytest

from vit_keras.data import Preprocessing, load
from vit_keras.errors import DataError, InvalidArgumentError, VitKerasError

RULE = Preprocessing(image_size=(16, 24))


def test_batch_size_and_seed_reach_the_data():
    data = load("emoji", batch_size=7, seed=3, limit=20)
    assert (data.batch_size, data.seed) == (7, 3)
    assert next(iter(data.test))[0].shape == (7, 32, 32, 3)


def test_resizing_keeps_the_mean_of_each_image_and_one_channel_is_the_luma():
    options = ({}, {"image_size": 16}, {"channels": 1})
    large, small, gray = (load("emoji", limit=30, **each).splits["test"].images for each in options)
    assert (small.shape, gray.shape) == ((30, 16, 16, 3), (30, 32, 32, 1))
    np.testing.assert_allclose(small.mean(axis=(1, 2)), large.mean(axis=(1, 2)), atol=2.5)
    np.testing.assert_allclose(gray[..., 0], large @ np.array([0.299, 0.587, 0.114]), atol=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0, "batch_size": -3, "seed": -1, "channels": 2}, "batch_size=-3 .*seed=-1 .*limit=0 .*channels=2 is neither 1 nor 3"),
        ({"limit": 1.5}, "limit=1.5 is not a positive integer"),
        ({"channels": "3"}, "channels='3'"),
        *(({"image_size": size}, "image_size=.*expected a positive integer") for size in (0, (32,), "32")),
        ({"image_size": RULE}, "image_size=Preprocessing.*pass it as preprocessing="),
        ({"preprocessing": 16}, "preprocessing=16: expected a vk.data.Preprocessing"),
        ({"preprocessing": RULE, "image_size": 16}, r"both given: drop image_size, since .* its own, \(16, 24\)"),
        ({"preprocessing": RULE, "channels": 3}, "both given: drop channels"),
    ],
)  # fmt: skip
def test_illegal_arguments_are_named(arguments, message):
    with pytest.raises(VitKerasError, match=message):
        load("emoji", **arguments)


def test_an_object_that_is_no_source_is_an_error():
    for source, kind in ((7, "int"), (np.zeros((4, 8, 8, 3)), "ndarray")):
        with pytest.raises(DataError, match=f"source is {kind}: expected a name, a folder"):
            load(source)


def test_a_folder_is_found_by_path_or_name_in_the_working_directory_or_home(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    monkeypatch.setenv("HOME", str(image_folder.parent))
    for source in (image_folder, str(image_folder), image_folder.name, f"~/{image_folder.name}"):
        data = load(source, image_size=16)
        assert (data.class_names, data.image_shape) == (("cat", "dog"), (16, 16, 3))


def test_a_slash_or_a_path_distinguishes_a_folder_from_a_name(make_folder, tmp_path, monkeypatch):
    make_folder({"cat": 3, "dog": 3}, tmp_path / "emoji")
    monkeypatch.chdir(tmp_path)
    for source in ("./emoji", Path("emoji")):
        assert load(source, image_size=16).class_names == ("cat", "dog")


def test_a_folder_needs_an_image_size_and_a_set_of_bytes_takes_no_pixel_range(image_folder, tmp_path):
    with pytest.raises(DataError, match="image files need an image size; pass image_size"):
        load(image_folder)
    with pytest.raises(InvalidArgumentError, match=r"the images of emoji are 0\.\.255"):
        load("emoji", pixel_range=(0, 1))
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        load(tmp_path / "nowhere", image_size=16)
