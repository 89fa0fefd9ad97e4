import numpy as np
import pytest
from PIL import Image

from vit_keras.data import Preprocessing
from vit_keras.data.sources.folder import read_folder
from vit_keras.errors import DataError

RULE = Preprocessing(image_size=(8, 8))


def test_class_folders_become_classes_with_a_tenth_of_each_held_out_by_the_seed(make_folder):
    root = make_folder({"owl": 20, "cat": 30})
    data = read_folder(root, preprocessing=RULE)
    assert data.class_names == ("cat", "owl")
    assert {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()} == {
        "train": [24, 16], "validation": [3, 2], "test": [3, 2],
    }  # fmt: skip
    assert (data.image_shape, data.notes) == ((8, 8, 3), ())
    colors = [{split.image(index).tobytes() for index in range(len(split))} for split in data.splits.values()]
    assert sum(map(len, colors)) == len(set.union(*colors)) == 50
    again, other = (read_folder(root, preprocessing=RULE, seed=seed).fingerprint for seed in (0, 1))
    assert data.fingerprint == again != other
    assert read_folder(root, preprocessing=Preprocessing(image_size=(8, 8), channels=1)).image_shape == (8, 8, 1)


def test_classes_of_three_images_are_in_each_split_and_smaller_ones_only_trained_on(make_folder, tmp_path):
    sizes = read_folder(make_folder({"cat": 3, "dog": 3}), preprocessing=RULE).sizes
    assert sizes == {"train": 2, "validation": 2, "test": 2}
    for count in (1, 2):
        data = read_folder(make_folder({"cat": 5, "dog": count}, tmp_path / str(count)), preprocessing=RULE)
        counts = {name: np.bincount(split.labels, minlength=2).tolist() for name, split in data.splits.items()}
        assert counts == {"train": [3, count], "validation": [1, 0], "test": [1, 0]}


def test_each_image_has_the_label_of_its_folder(tmp_path):
    for name, color in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        (tmp_path / name).mkdir()
        for index in range(5):
            Image.new("RGB", (9, 9 + index), color).save(tmp_path / name / f"{index}.png")
    for split in read_folder(tmp_path, preprocessing=RULE).splits.values():
        assert [split.image(index)[0, 0, 0] > 0 for index in range(len(split))] == (split.labels == 1).tolist()


def test_identical_files_stay_in_the_same_split(make_folder):
    root = make_folder({"cat": 20, "dog": 20})
    for index in range(20):
        (root / "cat" / f"copy_{index:02d}.png").write_bytes((root / "cat" / f"{index:02d}.png").read_bytes())
    splits = read_folder(root, preprocessing=RULE, rates=(0.2, 0.2)).splits
    contents = {name: {split.files.read(index) for index in range(len(split))} for name, split in splits.items()}
    assert sum(map(len, contents.values())) == len(set.union(*contents.values())) == 40


@pytest.mark.parametrize(("given", "expected"), [("test", (16, 2, 4)), ("validation", (16, 4, 2)), (None, (16, 2, 2))])
def test_missing_splits_are_drawn_from_the_training_images(make_folder, tmp_path, given, expected):
    held = sum(size for name, size in zip(("validation", "test"), expected[1:], strict=True) if name != given)
    make_folder({"cat": (16 + held) // 2, "dog": (16 + held) // 2}, tmp_path / "root" / "train")
    if given:
        make_folder({"cat": 2, "dog": 2}, tmp_path / "root" / given)
    sizes = read_folder(tmp_path / "root", preprocessing=RULE).sizes
    assert tuple(sizes[name] for name in ("train", "validation", "test")) == expected


def test_unusable_files_are_left_out_and_noted(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "broken.png").write_bytes((root / "cat" / "00.png").read_bytes()[:40])
    data = read_folder(root, preprocessing=RULE)
    assert sum(data.sizes.values()) == 8
    (note,) = data.notes
    assert str(root / "cat" / "broken.png") in note
    Image.new("RGB", (9, 9)).save(root / "cat" / "scan.jp2")
    with pytest.raises(DataError, match=r"2 of 10 files can't be read"):
        read_folder(root, preprocessing=RULE)
