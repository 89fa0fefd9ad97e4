import os

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import Preprocessing, ReadOptions, Split, load
from vit_keras.errors import StorageError, TooManyBadFilesError

RULE = Preprocessing(image_size=(24, 32))


def read_test_split(root, cache, **options):
    return load(root, preprocessing=RULE, reading=ReadOptions(cache=cache), **options).splits["test"]


def test_preprocessed_images_are_the_same_wherever_they_are_cached(photo_folder):
    none, memory, disk = (read_test_split(photo_folder, cache) for cache in ("none", "memory", "disk"))
    assert none.prepared is none
    assert isinstance(memory.prepared, Split)
    assert isinstance(disk.prepared.images, np.memmap)
    images = np.stack([none.image(index) for index in range(len(none))])
    np.testing.assert_array_equal(memory.prepared.images, images)
    np.testing.assert_array_equal(disk.prepared.images, images)


def test_the_disk_cache_is_reused(photo_folder, monkeypatch):
    first = read_test_split(photo_folder, "disk", seed=8).prepared
    monkeypatch.setattr("vit_keras.data.dataset.splits.EncodedSplit.image", None)  # nothing is decoded again
    np.testing.assert_array_equal(first.images, read_test_split(photo_folder, "disk", seed=8).prepared.images)


def test_a_damaged_cache_file_is_an_error(photo_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path))
    read_test_split(photo_folder, "disk").prepared  # noqa: B018 - fills the cache
    (path,) = (tmp_path / "images").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=f"{path.name}.*Remove it"):
        read_test_split(photo_folder, "disk").prepared  # noqa: B018


def test_an_interrupted_write_leaves_nothing_in_the_cache(photo_folder, monkeypatch, tmp_path):
    def interrupt(self, index):
        raise KeyboardInterrupt

    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path))
    split = read_test_split(photo_folder, "disk")
    monkeypatch.setattr("vit_keras.data.dataset.splits.EncodedSplit.image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        split.prepared  # noqa: B018
    assert list((tmp_path / "images").iterdir()) == []


def test_auto_caches_where_there_is_room(photo_folder, monkeypatch):
    monkeypatch.setattr("vit_keras.data.images.cache._SHARE_OF_MEMORY", 0)
    assert isinstance(read_test_split(photo_folder, "auto", seed=11).prepared.images, np.memmap)
    monkeypatch.setattr("vit_keras.data.images.cache._SHARE_OF_DISK", 0)
    split = read_test_split(photo_folder, "auto", seed=12)
    assert split.prepared is split


@pytest.fixture
def split(make_folder):
    """A training split of 192 files that may be removed."""
    reading = ReadOptions(cache="none")
    return load(make_folder({"cat": 120, "dog": 120}), preprocessing=RULE, reading=reading).splits["train"]


def test_a_removed_file_is_always_replaced_by_the_same_one_of_its_class(split):
    removed = 7
    os.remove(split.files.name(removed))
    with pytest.warns(UserWarning, match=r"there is no such file\. Another image of its class replaces it"):
        substitute = split.image(removed)
    same_class = [index for index in np.flatnonzero(split.labels == split.labels[removed]) if index != removed]
    assert substitute.tobytes() in [split.image(index).tobytes() for index in same_class]
    np.testing.assert_array_equal(split.image(removed), substitute)
    assert list(split.replaced) == [removed]


def test_a_changed_file_is_replaced_and_a_pipe_beyond_the_limit_is_an_error(split):
    green = Image.new("RGB", (99, 99), "lime")
    green.save(split.files.name(0))
    with pytest.warns(UserWarning, match="changed since it was checked"):
        assert (split.image(0) != np.asarray(green.resize((32, 24)))).any()
    os.remove(split.files.name(1))
    os.mkfifo(split.files.name(1))
    with pytest.raises(TooManyBadFilesError, match=r"(?s)2 of 192 images can no .*over the limit of 1%.*not a file"):
        split.image(1)
