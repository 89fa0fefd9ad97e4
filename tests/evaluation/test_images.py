import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from vit_keras.data import Preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.images import list_images

pytestmark = pytest.mark.any_backend


@pytest.fixture
def photos(tmp_path):
    """Folders of classes, one with folders inside, beside files that are no images."""
    root = tmp_path / "photos"
    for name in ("cat/1.jpg", "cat/day 2/2.png", "dog/[3].png", "dog/._3.png", "dog/notes.txt", "__MACOSX/4.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            (root / name).write_text("a dog")
        else:
            Image.new("RGB", (4, 4)).save(root / name)
    (root / "dog" / "phone.heic").write_bytes(bytes([0, 0, 0, 24]) + b"ftypheic")
    return root


def names(images, root):
    return [os.path.relpath(image.content, root) for image in images]


def test_a_folder_is_searched_and_images_that_cannot_be_read_are_listed(photos):
    found = list_images(photos)
    assert names(found, photos) == ["cat/1.jpg", "cat/day 2/2.png", "dog/[3].png", "dog/phone.heic"]
    assert [image.labels for image in found] == [
        ("cat", "photos"), ("day 2", "cat", "photos"), ("dog", "photos"), ("dog", "photos"),
    ]  # fmt: skip
    assert [image.find_label({"cat", "dog"}) for image in found] == ["cat", "cat", "dog", "dog"]
    assert list_images(photos / "cat")[0].find_label({"cat"}) == "cat"
    assert list_images(photos / "cat" / "1.jpg")[0].labels == ("cat",)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/*.jpg", ["cat/1.jpg"]),
        ("**/*.png", ["cat/day 2/2.png", "dog/[3].png"]),
        ("**", ["cat/1.jpg", "cat/day 2/2.png", "dog/[3].png", "dog/phone.heic"]),
        ("c*", ["cat/1.jpg", "cat/day 2/2.png"]),
        ("dog/*", ["dog/[3].png", "dog/phone.heic"]),
        ("dog/[3].png", ["dog/[3].png"]),  # a file of this name
    ],
)
def test_a_pattern_names_files_once_with_the_folders_from_its_fixed_part(photos, pattern, expected):
    found = list_images(f"{photos}/{pattern}")
    assert names(found, photos) == expected
    assert [image.find_label({"cat", "dog"}) for image in found] == [name[:3] for name in expected]


def test_a_relative_folder_has_its_name(photos, monkeypatch):
    monkeypatch.chdir(photos / "dog")
    assert list_images(".")[0].labels == ("dog",)
    assert list_images("[[]*.png")[0].labels == ("dog",)


def test_a_list_names_images_and_labels(photos):
    (photos / "list.csv").write_text("file,label\ncat/1.jpg,owl\nnowhere.png,cat\n")
    found = list_images(photos / "list.csv")
    assert [(image.content, image.labels) for image in found] == [
        (photos / "cat" / "1.jpg", ("owl",)), (photos / "nowhere.png", ("cat",)),
    ]  # fmt: skip
    (photos / "list.txt").write_text("cat/1.jpg\n")
    assert [image.labels for image in list_images([photos / "list.txt"])] == [("cat",)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("no*.jpg", "no image matches this pattern"),
        ("empty", "this folder contains no images"),
        ("s3://a/b", "URLs are not"),
    ],
)
def test_what_names_no_image_is_refused(tmp_path, monkeypatch, word, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(InvalidArgumentError, match=message):
        list_images(word)


def test_the_images_of_a_tar_are_named_and_labeled_and_read_where_they_are(photos, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(photos / "cat", "photos/cat")
        tar.add(photos / "dog" / "[3].png", "photos/dog/[3].png")
    found = list_images(tmp_path / "photos.tar")
    assert [image.name for image in found] == [
        f"{tmp_path}/photos.tar/photos/{name}" for name in ("cat/1.jpg", "cat/day 2/2.png", "dog/[3].png")
    ]
    assert [image.labels for image in found] == [("cat",), ("cat",), ("dog",)]
    rule = Preprocessing(image_size=(4, 4))
    assert [image.load(rule).tolist() for image in found] == [
        image.load(rule).tolist() for image in list_images([photos / "cat", photos / "dog" / "[3].png"])
    ]
