import os
import sys

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import Preprocessing
from vit_keras.data.sources.folder import read_folder
from vit_keras.errors import DataError

SIZE = (8, 8)
RULE = Preprocessing(image_size=SIZE)


def images_of(split):
    return np.stack([split.image(index) for index in range(len(split))])


def snapshot(root):
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in root.rglob("*")}


def test_class_folders_become_classes_with_a_tenth_of_each_held_out(make_folder):
    data = read_folder(make_folder({"owl": 20, "cat": 30}), preprocessing=RULE)
    assert data.class_names == ("cat", "owl")
    assert {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()} == {
        "train": [24, 16], "validation": [3, 2], "test": [3, 2],
    }  # fmt: skip
    assert data.image_shape == (8, 8, 3)
    assert data.notes == ()


def test_three_images_per_class_are_enough(make_folder):
    sizes = read_folder(make_folder({"cat": 3, "dog": 3}), preprocessing=RULE).sizes
    assert sizes == {"train": 2, "validation": 2, "test": 2}


@pytest.mark.parametrize(("count", "told"), [(1, "1 readable image"), (2, "2 readable images")])
def test_a_class_with_too_few_images_is_an_error(make_folder, count, told):
    with pytest.raises(DataError, match=f"Class 'dog' has {told}; it needs three"):
        read_folder(make_folder({"cat": 5, "dog": count}), preprocessing=RULE)


def test_each_image_has_the_label_of_its_folder(tmp_path):
    for index in range(5):
        for name, color in (("blue", (0, 0, 200 + index)), ("red", (200 + index, 0, 0))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (9, 9), color).save(tmp_path / name / f"{index}.png")
    for split in read_folder(tmp_path, preprocessing=RULE).splits.values():
        assert ((images_of(split)[:, 0, 0, 0] > 0) == (split.labels == 1)).all()


def test_no_image_is_in_two_splits_and_the_seed_decides(make_folder):
    root = make_folder({"cat": 20, "dog": 20})
    data = read_folder(root, preprocessing=RULE)
    colors = {name: {image.tobytes() for image in images_of(split)} for name, split in data.splits.items()}
    assert sum(map(len, colors.values())) == len(set.union(*colors.values())) == 40
    again, other = (read_folder(root, preprocessing=RULE, seed=seed).fingerprint for seed in (0, 1))
    assert data.fingerprint == again != other


def test_identical_files_stay_in_the_same_split(make_folder):
    root = make_folder({"cat": 20, "dog": 20})
    for index in range(20):
        (root / "cat" / f"copy_{index:02d}.png").write_bytes((root / "cat" / f"{index:02d}.png").read_bytes())
    splits = read_folder(root, preprocessing=RULE, rates=(0.2, 0.2)).splits
    contents = {name: {split.files.read(index) for index in range(len(split))} for name, split in splits.items()}
    assert sum(map(len, contents.values())) == len(set.union(*contents.values())) == 40


def test_gray_images_have_one_channel(image_folder):
    rule = Preprocessing(image_size=SIZE, channels=1)
    assert read_folder(image_folder, preprocessing=rule).image_shape == (8, 8, 1)


def test_split_folders_are_the_splits(make_folder, tmp_path):
    for name, count in (("Training", 4), ("VALID", 3), ("Test", 2)):
        make_folder({"cat": count, "dog": count}, tmp_path / "root" / name)
    assert read_folder(tmp_path / "root", preprocessing=RULE).sizes == {"train": 8, "validation": 6, "test": 4}


@pytest.mark.parametrize(("given", "expected"), [("test", (16, 2, 4)), ("validation", (16, 4, 2)), (None, (16, 2, 2))])
def test_missing_splits_are_drawn_from_the_training_images(make_folder, tmp_path, given, expected):
    held = sum(size for name, size in zip(("validation", "test"), expected[1:], strict=True) if name != given)
    make_folder({"cat": (16 + held) // 2, "dog": (16 + held) // 2}, tmp_path / "root" / "train")
    if given:
        make_folder({"cat": 2, "dog": 2}, tmp_path / "root" / given)
    sizes = read_folder(tmp_path / "root", preprocessing=RULE).sizes
    assert tuple(sizes[name] for name in ("train", "validation", "test")) == expected


def test_names_do_not_matter_and_other_files_are_ignored(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    names = ["a.JPG", "a.gif", "été 猫.png", "a b%20{c}.png", "n\new.png", "2024/may/a.png"]
    for name in [*names, "Thumbs.db", ".hidden.png", "notes.txt"]:
        (root / "cat" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cat" / name).write_bytes(b"text" if name == "notes.txt" else (root / "cat" / "00.png").read_bytes())
    assert sum(read_folder(root, preprocessing=RULE).sizes.values()) == 8 + len(names)


def test_unusable_files_are_left_out_noted_and_not_changed(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "broken.png").write_bytes((root / "cat" / "00.png").read_bytes()[:40])
    before = snapshot(root)
    data = read_folder(root, preprocessing=RULE)
    assert sum(data.sizes.values()) == 8
    (note,) = data.notes
    assert str(root / "cat" / "broken.png") in note
    assert snapshot(root) == before
    Image.new("RGB", (9, 9)).save(root / "cat" / "scan.avif")
    with pytest.raises(DataError, match=r"2 of 10 files can't be read"):
        read_folder(root, preprocessing=RULE)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not text")
def test_names_that_are_not_text_do_not_stop_the_others(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    with open(os.path.join(os.fsencode(root), b"cat", b"caf\xe9.png"), "wb") as file:
        file.write((root / "cat" / "00.png").read_bytes())
    assert sum(read_folder(root, preprocessing=RULE).sizes.values()) == 8
