import os
import sys
import unicodedata

import pytest

from vit_keras.data.scan.listing import list_folder
from vit_keras.errors import ClassLayoutError, EmptyDatasetError

pytestmark = pytest.mark.usefixtures("never_opened")


def test_folders_next_to_the_splits_are_skipped(make):
    listing = list_folder(make("train/a/1.png", "train/b/1.png", "extra/a/1.png"))
    assert len(listing.paths) == 2
    assert listing.skipped == (("extra", "a folder next to the split folders"),)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not text")
def test_a_class_folder_whose_name_is_not_text_is_an_error(make):
    root = make(f"{os.fsdecode(bytes([0xE9]))}/1.png", "dog/1.png")
    with pytest.raises(ClassLayoutError, match=r"'\\udce9'"):
        list_folder(root)


@pytest.mark.parametrize(
    "names", [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("a", "a ")]
)
def test_class_names_that_look_alike_are_an_error(make, names):
    root = make(*(f"{name}/1.png" for name in (*names, "dog")))
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system does not tell such names apart")
    with pytest.raises(ClassLayoutError, match="differ only in case or in the spelling of accents") as caught:
        list_folder(root)
    assert all(repr(unicodedata.normalize("NFC", name)) in str(caught.value) for name in names)
    assert "dog" not in str(caught.value)


def test_both_spellings_of_an_accent_are_one_class_across_splits_but_not_within_one(make):
    root = make("train/caf\u00e9/1.png", "train/b/1.png", "test/cafe\u0301/1.png")
    assert list_folder(root).class_names == ("b", "caf\u00e9")
    make("test/caf\u00e9/1.png")
    with pytest.raises(ClassLayoutError, match="test: some class folders differ only"):
        list_folder(root)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["val/a/1.png", "test/a/1.png"], "no train folder"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"], "val and valid are both the validation"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], r"test: .* c are not among the training classes a, b"),
        (["a/1.png"], r"at least two class folders, found a"),
        (["photos/cat/1.png", "photos/dog/1.png"], r"photos contains folders itself: is it the data set\?"),
        (["1.png", "2.jpg"], r"(?s)2 images are in no class folder.*root/CLASS/image\.jpg.*cat/\n"),
    ],
)  # fmt: skip
def test_a_layout_without_classes_is_an_error(make, paths, message):
    with pytest.raises(ClassLayoutError, match=message):
        list_folder(make(*paths))


def test_an_empty_folder_is_an_error_that_shows_the_layout(tmp_path):
    message = r"(?s)found none.*cat/\n\s+one\.jpg.*JPEG, PNG, .* HEIC files are read"
    with pytest.raises(EmptyDatasetError, match=message):
        list_folder(tmp_path)
