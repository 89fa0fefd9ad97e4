import os
import sys

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import Preprocessing
from vit_keras.data.dataset.holdout import hold_out, split_indices
from vit_keras.data.sources.folder import read_folder
from vit_keras.errors import DataError

SIZE = (8, 8)
RULE = Preprocessing(image_size=SIZE)


def images_of(split):
    return np.stack([split.image(index) for index in range(len(split))])


def counts(data):
    return {name: len(split) for name, split in data.splits.items()}


def snapshot(root):
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in root.rglob("*")}


def picture(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), colour).save(path)


def test_class_folders_become_classes_with_a_tenth_each_held_out(make_folder):
    data = read_folder(make_folder({"owl": 20, "cat": 30}), preprocessing=RULE)
    assert data.class_names == ("cat", "owl")
    assert counts(data) == {"train": 40, "validation": 5, "test": 5}
    assert [np.bincount(data.splits[name].labels).tolist() for name in ("train", "validation", "test")] == [
        [24, 16],
        [3, 2],
        [3, 2],
    ]
    assert data.image_shape == (8, 8, 3)
    assert data.notes == ()


def test_three_images_a_class_are_enough(make_folder):
    assert counts(read_folder(make_folder({"cat": 3, "dog": 3}), preprocessing=RULE)) == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }


def test_each_image_has_the_label_of_its_folder(tmp_path):
    for index in range(5):
        picture(tmp_path / "blue" / f"{index}.png", (0, 0, 200 + index))
        picture(tmp_path / "red" / f"{index}.png", (200 + index, 0, 0))
    for split in read_folder(tmp_path, preprocessing=RULE).splits.values():
        assert ((images_of(split)[:, 0, 0, 0] > 0) == (split.labels == 1)).all()


def test_no_image_is_in_two_splits(make_folder):
    data = read_folder(make_folder({"cat": 20, "dog": 20}), preprocessing=RULE)
    colours = {name: {image.tobytes() for image in images_of(split)} for name, split in data.splits.items()}
    assert sum(map(len, colours.values())) == len(set.union(*colours.values())) == 40


def test_the_seed_decides_what_is_held_out(make_folder):
    root = make_folder({"cat": 20, "dog": 20})
    first, again, other = (read_folder(root, preprocessing=RULE, seed=seed).fingerprint for seed in (0, 0, 1))
    assert first == again != other


def test_grey_images_have_one_channel(image_folder):
    assert read_folder(image_folder, preprocessing=Preprocessing(image_size=SIZE, channels=1)).image_shape == (8, 8, 1)


@pytest.mark.parametrize(
    "names",
    [("train", "validation", "test"), ("train", "val", "test"), ("Training", "VALID", "Test")],
)
def test_split_folders_are_taken_as_they_are(make_folder, tmp_path, names):
    for name, count in zip(names, (4, 3, 2), strict=True):
        make_folder({"cat": count, "dog": count}, tmp_path / "root" / name)
    assert counts(read_folder(tmp_path / "root", preprocessing=RULE)) == {"train": 8, "validation": 6, "test": 4}


@pytest.mark.parametrize(("given", "expected"), [("test", (16, 2, 4)), ("validation", (16, 4, 2)), (None, (16, 2, 2))])
def test_splits_that_are_not_there_are_held_out_of_training(make_folder, tmp_path, given, expected):
    held = sum(size for name, size in zip(("validation", "test"), expected[1:], strict=True) if name != given)
    make_folder({"cat": (16 + held) // 2, "dog": (16 + held) // 2}, tmp_path / "root" / "train")
    if given:
        make_folder({"cat": 2, "dog": 2}, tmp_path / "root" / given)
    data = read_folder(tmp_path / "root", preprocessing=RULE)
    assert tuple(counts(data)[name] for name in ("train", "validation", "test")) == expected


def test_a_split_may_lack_a_class(make_folder, tmp_path):
    make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / "train")
    make_folder({"dog": 3}, tmp_path / "root" / "test")
    data = read_folder(tmp_path / "root", preprocessing=RULE)
    assert data.splits["test"].labels.tolist() == [1, 1, 1]


def test_a_split_with_a_class_that_training_lacks_is_refused(make_folder, tmp_path):
    make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / "train")
    make_folder({"dog": 3, "owl": 3}, tmp_path / "root" / "test")
    with pytest.raises(DataError, match=r"test: classes \['owl'\] are not among the training classes \['cat', 'dog'\]"):
        read_folder(tmp_path / "root", preprocessing=RULE)


def test_two_folders_for_one_split_are_refused(make_folder, tmp_path):
    for name in ("train", "val", "validation"):
        make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / name)
    with pytest.raises(DataError, match=r"val.*validation"):
        read_folder(tmp_path / "root", preprocessing=RULE)


def test_split_folders_without_training_are_refused(make_folder, tmp_path):
    for name in ("val", "test"):
        make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / name)
    with pytest.raises(DataError, match="train"):
        read_folder(tmp_path / "root", preprocessing=RULE)


def test_folders_inside_a_class_folder_belong_to_the_class(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    picture(root / "cat" / "2024" / "may" / "a.png")
    assert sum(counts(read_folder(root, preprocessing=RULE)).values()) == 9


@pytest.mark.parametrize(
    "name", ["a.JPG", "a.Jpeg", "a.WEBP", "a.gif", "a.bmp", "été 猫.png", "a b%20{c}.png", "n\new.png"]
)
def test_endings_in_any_case_and_any_names_are_read(make_folder, name):
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / name).write_bytes((root / "cat" / "00.png").read_bytes())
    assert sum(counts(read_folder(root, preprocessing=RULE)).values()) == 9


@pytest.mark.parametrize(
    "junk",
    [
        "Thumbs.db", "cat/Thumbs.db", "cat/.DS_Store", "cat/._00.png", "cat/.hidden.png", "cat/notes.txt", "notes.txt",
        ".ipynb_checkpoints/00.png", "__MACOSX/cat/._00.png", ".git/a.png", "cat/.ipynb_checkpoints/00-checkpoint.png",
        "cat/__MACOSX/00.png",
    ],
)  # fmt: skip
def test_junk_is_ignored(make_folder, junk):
    root = make_folder({"cat": 4, "dog": 4})
    expected = read_folder(root, preprocessing=RULE).fingerprint
    (root / junk).parent.mkdir(parents=True, exist_ok=True)
    (root / junk).write_bytes(b"a word" if junk.endswith(".txt") else (root / "cat" / "00.png").read_bytes())
    data = read_folder(root, preprocessing=RULE)
    assert data.class_names == ("cat", "dog")
    assert data.fingerprint == expected


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are of POSIX")
def test_links_and_pipes_are_not_followed(make_folder, tmp_path):
    root = make_folder({"cat": 4, "dog": 4})
    expected = read_folder(root, preprocessing=RULE).fingerprint
    make_folder({"inside": 3}, tmp_path / "outside")
    (root / "owl").symlink_to(tmp_path / "outside" / "inside")
    (root / "cat" / "link.png").symlink_to(tmp_path / "outside" / "inside" / "00.png")
    (root / "cat" / "linked").symlink_to(tmp_path / "outside" / "inside")
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "folder.png").mkdir()
    assert read_folder(root, preprocessing=RULE).fingerprint == expected


def test_images_in_a_format_we_do_not_read_are_named_in_the_notes(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    Image.new("RGB", (9, 9)).save(root / "cat" / "scan.avif")
    assert "scan.avif" in " ".join(read_folder(root, preprocessing=RULE).notes)


def test_nothing_in_the_folder_is_changed(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "broken.png").write_bytes(b"broken")
    before = snapshot(root)
    read_folder(root, preprocessing=RULE)
    assert snapshot(root) == before


def test_an_unreadable_file_is_left_out_and_named_in_the_notes(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "broken.png").write_bytes((root / "cat" / "00.png").read_bytes()[:40])
    data = read_folder(root, preprocessing=RULE)
    assert sum(counts(data).values()) == 8
    (note,) = data.notes
    assert str(root / "cat" / "broken.png") in note


def test_too_many_unreadable_files_are_refused_and_the_first_ten_named(make_folder):
    root = make_folder({"cat": 10, "dog": 10})
    for index in range(12):
        (root / "cat" / f"broken_{index:02d}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"12 of 32 files can't be read, more than one in a hundred") as caught:
        read_folder(root, preprocessing=RULE)
    assert str(caught.value).count("broken_") == 10


def test_two_unreadable_files_of_two_hundred_are_let_pass(make_folder):
    root = make_folder({"cat": 100, "dog": 98})
    for index in range(2):
        (root / "cat" / f"broken_{index}.png").write_bytes(b"broken")
    assert len(read_folder(root, preprocessing=RULE).notes) == 2
    (root / "cat" / "broken_2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="3 of 201 files"):
        read_folder(root, preprocessing=RULE)


def test_a_split_of_which_nothing_can_be_read_is_refused(make_folder, tmp_path):
    make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / "train")
    broken = tmp_path / "root" / "test" / "cat" / "broken.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"(?s)no image of \['cat'\] can be read.*broken\.png"):
        read_folder(tmp_path / "root", preprocessing=RULE)


def test_a_class_of_which_nothing_can_be_read_is_named(make_folder, tmp_path):
    make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / "train")
    make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / "val")
    make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / "test")
    (tmp_path / "root" / "train" / "owl").mkdir()
    (tmp_path / "root" / "train" / "owl" / "broken.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="owl"):
        read_folder(tmp_path / "root", preprocessing=RULE)


def test_a_folder_that_is_not_there_and_a_file_are_refused(tmp_path):
    (tmp_path / "file").write_text("text")
    for name in ("nowhere", "file"):
        with pytest.raises(DataError, match=f"{name}: there is no such folder"):
            read_folder(tmp_path / name, preprocessing=RULE)


def test_an_empty_folder_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"two class folders or more are needed, found \[\].*CLASS/image\.jpg"):
        read_folder(tmp_path, preprocessing=RULE)


def test_one_class_is_not_enough(make_folder):
    with pytest.raises(DataError, match=r"two class folders or more are needed, found \['cat'\]"):
        read_folder(make_folder({"cat": 5}), preprocessing=RULE)


def test_loose_images_are_counted_and_the_layout_is_told(make_folder):
    root = make_folder({"cat": 5})
    for index in range(3):
        picture(root / f"{index}.png")
    with pytest.raises(
        DataError, match=r"3 images beside them.*pictures/CLASS/image\.jpg, or pictures/train/CLASS/image\.jpg"
    ):
        read_folder(root, preprocessing=RULE)


def test_an_empty_class_folder_is_named(make_folder):
    root = make_folder({"cat": 5, "dog": 5})
    (root / "owl").mkdir()
    (root / "owl" / "notes.txt").write_text("none yet")
    with pytest.raises(DataError, match=r"owl: no image in this class folder; expected JPEG, PNG, .* TIFF files"):
        read_folder(root, preprocessing=RULE)


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_small_to_hold_out_is_named_with_its_count(make_folder, count):
    with pytest.raises(DataError, match=f"Class 'dog' has {count} readable images; it needs three"):
        read_folder(make_folder({"cat": 5, "dog": count}), preprocessing=RULE)


@pytest.mark.parametrize("names", [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE")])
def test_class_folders_that_look_the_same_are_refused(make_folder, tmp_path, names):
    root = make_folder(dict.fromkeys(names, 3))
    if len(list(root.iterdir())) < 2:
        pytest.skip("this file system does not tell such names apart")
    with pytest.raises(DataError, match="differ only in case or in the spelling of accents"):
        read_folder(root, preprocessing=RULE)


def test_a_class_name_spelled_with_an_accent_apart_is_one_word_in_every_split(make_folder, tmp_path):
    make_folder({"caf\u00e9": 3, "dog": 3}, tmp_path / "root" / "train")
    make_folder({"cafe\u0301": 3, "dog": 3}, tmp_path / "root" / "test")
    assert read_folder(tmp_path / "root", preprocessing=RULE).class_names == ("caf\u00e9", "dog")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no text")
def test_names_that_are_no_text_do_not_stop_the_others(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    content = (root / "cat" / "00.png").read_bytes()
    with open(os.path.join(os.fsencode(root), b"cat", b"caf\xe9.png"), "wb") as file:
        file.write(content)
    assert sum(counts(read_folder(root, preprocessing=RULE)).values()) in (8, 9)
    os.rename(os.path.join(os.fsencode(root), b"dog"), os.path.join(os.fsencode(root), b"d\xf6g"))
    try:
        fingerprint = read_folder(root, preprocessing=RULE).fingerprint
    except DataError:
        return
    assert fingerprint


def test_a_folder_without_permission_is_refused(make_folder, monkeypatch):
    root = make_folder({"cat": 4, "dog": 4})

    def refused(*arguments, **keywords):
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr("os.scandir", refused)
    monkeypatch.setattr("os.listdir", refused)
    with pytest.raises((DataError, OSError), match="pictures") as caught:
        read_folder(root, preprocessing=RULE)
    assert type(caught.value).__module__ == "vit_keras.errors"


def test_holding_out_is_stratified_and_seeded():
    labels = np.repeat([0, 1, 2], [100, 40, 4])
    held = hold_out(labels, ("a", "b", "c"), seed=3)
    assert np.bincount(labels[held]).tolist() == [10, 4, 1]
    assert (held == hold_out(labels, ("a", "b", "c"), seed=3)).all()
    assert (held != hold_out(labels, ("a", "b", "c"), seed=4)).any()


def test_nothing_is_left_of_a_class_of_one():
    with pytest.raises(DataError, match="'b' has 1 images"):
        hold_out(np.array([0, 0, 0, 1]), ("a", "b"), seed=0)


def test_copies_of_an_image_stay_on_one_side():
    labels = np.repeat([0, 1], 60)
    copies_of = np.concatenate([np.arange(60) // 3, 100 + np.arange(60) // 2])
    places = split_indices(
        labels, ("a", "b"), ("test", "validation"), rates=(0.2, 0.2), seed=0, duplicate_ids=copies_of
    )
    sides = [set(copies_of[chosen]) for chosen in places.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20 + 30
    assert all(len(chosen) > 0 for chosen in places.values())


def test_a_class_of_copies_alone_is_parted_all_the_same():
    places = split_indices(
        np.repeat([0, 1], 6), ("a", "b"), ("test",), rates=(0.1, 0.3), seed=0, duplicate_ids=np.repeat([0, 1], 6)
    )
    assert [len(places[name]) for name in ("train", "test")] == [8, 4]


def test_both_rates_are_of_the_whole():
    places = split_indices(np.zeros(200, int), ("a",), ("test", "validation"), rates=(0.25, 0.25), seed=0)
    assert {name: len(chosen) for name, chosen in places.items()} == {"train": 100, "test": 50, "validation": 50}


def test_no_copy_of_a_training_image_is_tested_on(make_folder):
    root = make_folder({"cat": 20, "dog": 20})
    for index in range(20):
        (root / "cat" / f"copy_{index:02d}.png").write_bytes((root / "cat" / f"{index:02d}.png").read_bytes())
    splits = read_folder(root, preprocessing=RULE, rates=(0.2, 0.2)).splits
    contents = {name: {split.files.read(index) for index in range(len(split))} for name, split in splits.items()}
    assert sum(map(len, contents.values())) == len(set.union(*contents.values())) == 40
