import os

import numpy as np
import pytest

from vit_keras.data.scan.listing import list_folder
from vit_keras.data.split_names import SPLITS
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError, StorageError

pytestmark = pytest.mark.usefixtures("never_opened")


def test_class_folders_are_listed_in_order(make):
    listing = list_folder(make("owl/b.png", "owl/a.jpg", "cat/c.JPEG"))
    assert listing.class_names == ("cat", "owl")
    assert listing.paths == ["cat/c.JPEG", "owl/a.jpg", "owl/b.png"]
    assert listing.labels.tolist() == [0, 1, 1]
    assert listing.splits.tolist() == [-1, -1, -1]
    assert (listing.labels.dtype, listing.splits.dtype) == (np.dtype("int32"), np.dtype("int8"))
    assert (listing.rejected, listing.skipped, listing.ignored, listing.outside) == ((), (), {}, ())


def test_a_split_may_lack_a_class(make):
    listing = list_folder(make("train/a/1.png", "train/b/1.png", "Val/b/1.png", "test/a/1.png"))
    assert {path: (listing.class_names[label], SPLITS[split]) for path, label, split in zip(
        listing.paths, listing.labels, listing.splits, strict=True
    )} == {
        "train/a/1.png": ("a", "train"), "train/b/1.png": ("b", "train"), "Val/b/1.png": ("b", "validation"), "test/a/1.png": ("a", "test"),
    }  # fmt: skip


def test_an_unreadable_folder_is_rejected_and_a_class_folder_or_root_an_error(make, monkeypatch):
    root, scandir = make("cat/1.png", "cat/in/2.png", "cat/out/3.png", "dog/1.png"), os.scandir
    denied, broken = PermissionError(13, "Permission denied"), OSError(5, "Input/output error")

    def refuse(folder, error):
        def refusing(path):
            if os.fspath(path) == os.fspath(folder):
                raise error
            return scandir(path)

        monkeypatch.setattr("os.scandir", refusing)

    refuse(root / "cat" / "in", denied)
    listing = list_folder(root)
    assert listing.paths == ["cat/1.png", "cat/out/3.png", "dog/1.png"]
    assert listing.rejected == (("cat/in", "permission denied"),)
    for error in (denied, broken):
        refuse(root / "cat", error)
        with pytest.raises(DataError, match=rf"cat: this class folder could not be read \({error.strerror}\)"):
            list_folder(root)
    refuse(root, denied)
    with pytest.raises(StorageError, match="root: could not be read"):
        list_folder(root)


def test_class_folders_without_images_are_an_error_that_counts_other_files(make):
    with pytest.raises(EmptyDatasetError, match=r"no image in any class folder; expected JPEG, .*found 2 \.txt"):
        list_folder(make("cat/a.txt", "dog/b.txt"))


def test_an_empty_class_is_an_error_or_dropped(make):
    root = make("ant/a.txt", "cat/1.png", "dog/a.txt", "owl/1.png", "yak/1.heic")
    with pytest.raises(ClassLayoutError, match=r"ant: no image in this class folder.*--drop-empty-classes.*dog"):
        list_folder(root)
    listing = list_folder(root, drop_empty_classes=True)
    assert listing.class_names == ("cat", "owl", "yak")  # a class of unsupported images is not empty
    assert (listing.paths, listing.labels.tolist()) == (["cat/1.png", "owl/1.png"], [0, 1])
    assert [path for path, _ in listing.rejected] == ["yak/1.heic"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/a/1.png", "train/b/1.png", "train/c/x.txt", "test/c/1.png"], "'c' has images, but no training images"),
        (["a/1.png", "b/x.txt"], r"at least two classes with images are needed, found a"),
    ],
)
def test_classes_that_cannot_be_dropped_are_an_error(make, paths, message):
    with pytest.raises(ClassLayoutError, match=message):
        list_folder(make(*paths), drop_empty_classes=True)


def test_a_class_empty_in_one_split_stays_a_class(make):
    root = make("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/x.txt")
    with pytest.raises(ClassLayoutError, match="b: no image in this class folder"):
        list_folder(root)
    assert list_folder(root, drop_empty_classes=True).class_names == ("a", "b")


def test_what_is_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("text")
    for name in ("nowhere", "file"):
        with pytest.raises(DataError, match=f"{name}: there is no such folder"):
            list_folder(tmp_path / name)
