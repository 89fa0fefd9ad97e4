"""Splits with unusual names are recognized or rejected; they never become training images or classes."""

import csv

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import ReadOptions, check, load
from vit_keras.data.split_names import parse_affixed_split, parse_split
from vit_keras.errors import ClassLayoutError, DataError, InvalidArgumentError

SHADES = {"train": 50, "validation": 120, "test": 200}


@pytest.fixture
def make(tmp_path):
    """Returns a maker of folders of images; an image's shade is that of its intended split."""

    def made(folders, classes=("cat", "dog"), count=4, root=tmp_path / "root"):
        for folder, split in folders.items():
            for name in classes:
                (root / folder / name).mkdir(parents=True)
                for index in range(count):
                    Image.new("L", (9, 9 + index), SHADES[split] + index).save(root / folder / name / f"{index}.png")
        return root

    return made


def shades(data):
    """Returns the range of shades of each split."""
    return {
        name: {round(int(split.image(index).min()), -1) // 10 * 10 for index in range(len(split))}
        for name, split in data.splits.items()
    }


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Training", "dev", "Testing"),
        ("TrainImages", "ValImages", "TestImages"),
        ("seg_train", "seg_dev", "seg_test"),
    ],
)
def test_folders_of_splits_are_known_by_their_names(make, train, validation, test):
    root = make({train: "train", validation: "validation", test: "test"})
    data = load(root, image_size=8)
    assert data.class_names == ("cat", "dog")
    assert shades(data) == {"train": {50}, "validation": {120}, "test": {200}}
    (decision,) = data.decisions
    assert decision == f"folders read as splits: {train} as train, {validation} as validation, {test} as test"
    assert decision in "\n".join(check(root).lines())


def test_splits_with_a_folder_of_their_own_name_inside_are_read(make):
    root = make({"seg_train/seg_train": "train", "seg_test/seg_test": "test"})
    (root / "seg_pred" / "seg_pred").mkdir(parents=True)
    Image.new("L", (9, 9)).save(root / "seg_pred" / "seg_pred" / "1.png")
    data = load(root, image_size=8)
    assert (data.class_names, data.sizes["test"]) == (("cat", "dog"), 8)
    assert shades(data)["test"] == {200}
    assert any("seg_pred: a folder next to the split folders" in note for note in data.notes)


@pytest.mark.parametrize(
    "folders", [("part_a", "part_b"), ("fold0", "fold1", "fold2"), ("train_v1", "later"), ("holdout", "rest")]
)
def test_folders_that_look_like_unknown_splits_are_an_error(make, folders):
    root = make(dict.fromkeys(folders, "train"))
    with pytest.raises(ClassLayoutError, match=r"look like splits .* Rename them .* ReadOptions\(splits="):
        load(root, image_size=8)


def test_splits_can_be_stated(make):
    root = make({"part_a": "train", "part_b": "test"})
    data = load(root, image_size=8, reading=ReadOptions(splits={"part_a": "train", "part_b": "test"}))
    assert (shades(data)["test"], data.class_names) == ({200}, ("cat", "dog"))
    assert load(root, image_size=8, reading=ReadOptions(splits={})).class_names == ("part_a", "part_b")
    with pytest.raises(ClassLayoutError, match=r"names part_c; there are part_a, part_b"):
        load(root, image_size=8, reading=ReadOptions(splits={"part_c": "train"}))
    with pytest.raises(ClassLayoutError, match="has no training split"):
        load(root, image_size=8, reading=ReadOptions(splits={"part_b": "test"}))


@pytest.mark.parametrize("splits", [["train"], {"a": "dev"}, {1: "train"}])
def test_an_illegal_statement_is_an_error(splits):
    with pytest.raises(InvalidArgumentError, match="expected the split of each name"):
        ReadOptions(splits=splits)


def test_classes_may_have_names_of_splits(make_folder, tmp_path):
    for names in (("bullet_train", "test_tube", "cat"), ("train", "bus", "test"), ("dev", "ops")):
        root = make_folder(dict.fromkeys(names, 4), tmp_path / names[0])
        assert load(root, image_size=8).class_names == tuple(sorted(names))


def table(folder, header, rows):
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / "table.csv"


def rows_of(root, cells):
    """Returns rows of path, label and a cell by the split that an image is meant for."""
    return [
        (path.relative_to(root).as_posix(), path.parent.name, cells[path.parent.parent.name])
        for path in sorted(root.rglob("*.png"))
    ]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("fold", {"a": "train", "b": "valid", "c": "test"}),
        ("phase", {"a": "train", "b": "eval", "c": "test"}),
        ("split", {"a": "training", "b": "dev", "c": "testing"}),
    ],
)
def test_a_column_of_splits_is_recognized_by_its_name_or_values(make, column, cells):
    root = make({"a": "train", "b": "validation", "c": "test"})
    data = load(table(root, ("path", "label", column), rows_of(root, cells)), image_size=8)
    assert shades(data) == {"train": {50}, "validation": {120}, "test": {200}}
    assert column == "split" or f"cells of the column {column.lower()} read as splits" in data.decisions[0]


def test_numbered_folds_are_no_splits_unless_that_is_stated(make):
    root = make({"a": "train", "b": "validation", "c": "test"})
    path = table(root, ("path", "label", "fold"), rows_of(root, {"a": "0", "b": "1", "c": "2"}))
    data = load(path, image_size=8)
    assert data.sizes == {"train": 20, "validation": 2, "test": 2}
    assert any("the numbers in the column fold are not read as splits" in decision for decision in data.decisions)
    stated = ReadOptions(splits={"0": "train", "1": "validation", "2": "test"})
    assert shades(load(path, image_size=8, reading=stated)) == {"train": {50}, "validation": {120}, "test": {200}}
    assert load(path, image_size=8, reading=ReadOptions(splits={})).sizes == {"train": 20, "validation": 2, "test": 2}


def test_contradicting_columns_are_an_error(make):
    root = make({"a": "train", "c": "test"})
    rows = [(*row, "test" if row[2] == "train" else "train") for row in rows_of(root, {"a": "train", "c": "test"})]
    with pytest.raises(DataError, match=r"columns set, subset contain different splits"):
        load(table(root, ("path", "label", "set", "subset"), rows), image_size=8)


def test_a_table_without_a_column_of_splits_uses_its_folders(make):
    root = make({"data/Train": "train", "data/Test": "test"})
    rows = [(path.relative_to(root).as_posix(), path.parent.name) for path in sorted(root.rglob("*.png"))]
    data = load(table(root, ("path", "label"), rows), image_size=8)
    assert shades(data)["test"] == {200}
    assert data.decisions == ("folders in the paths read as splits",)
    anew = [(*row, "") for row in rows]
    assert len(shades(load(table(root, ("path", "label", "split"), anew), image_size=8))["train"]) > 1


def test_keys_of_a_mapping_are_recognized():
    def part(shade):
        return np.full((8, 4, 4, 3), shade, "uint8"), np.arange(8) % 2

    data = load({"Training": part(50), "dev": part(120), "test": part(200)})
    assert shades(data) == {"train": {50}, "validation": {120}, "test": {200}}
    assert data.decisions == ("keys read as splits: Training as train, dev as validation, test as test",)
    with pytest.raises(DataError, match="both the validation split"):
        load({"train": part(50), "dev": part(120), "val": part(120)})


def test_names_are_splits_or_not():
    for name, split in (("train_set", "train"), ("eval", "validation"), ("TEST", "test")):
        assert parse_split(name) == split
    for name in ("pred", "extra", "unlabeled", "bullet_train", "contest", "value", "development_test", "", "1"):
        assert parse_split(name) is None
    assert parse_affixed_split("train2017") == ("train", "2017")
    assert parse_affixed_split("train_test") is parse_affixed_split("seg_pred") is None
