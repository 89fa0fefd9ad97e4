"""Splits with unusual names are recognized or rejected; they never become training images or classes."""

import csv
from typing import ClassVar

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
        ("train_set", "eval", "TEST"),
        ("TrainImages", "ValImages", "TestImages"),
        ("seg_train", "seg_dev", "seg_test"),
        ("train2017", "val2017", "test2017"),
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
    with pytest.raises(ClassLayoutError, match=r"names \['part_c'\]; there are \['part_a', 'part_b'\]"):
        load(root, image_size=8, reading=ReadOptions(splits={"part_c": "train"}))
    with pytest.raises(ClassLayoutError, match="has no training split"):
        load(root, image_size=8, reading=ReadOptions(splits={"part_b": "test"}))


@pytest.mark.parametrize("splits", [["train"], {"a": "dev"}, {1: "train"}, "train"])
def test_an_illegal_statement_is_an_error(splits):
    with pytest.raises(InvalidArgumentError, match="expected the split of each name"):
        ReadOptions(splits=splits)


def test_two_folders_of_one_split_are_an_error(make):
    with pytest.raises(ClassLayoutError, match="dev and val are both the validation split"):
        load(make({"train": "train", "val": "validation", "dev": "validation"}), image_size=8)


@pytest.mark.parametrize("names", [("bullet_train", "test_tube", "cat"), ("train", "bus", "test"), ("dev", "ops")])
def test_classes_may_have_names_of_splits(make_folder, names):
    assert load(make_folder(dict.fromkeys(names, 4)), image_size=8).class_names == tuple(sorted(names))


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
        ("set", {"a": "train", "b": "dev", "c": "test"}),
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


def test_a_column_of_numbered_folds_must_be_stated(make):
    root = make({"a": "train", "b": "validation", "c": "test"})
    path = table(root, ("path", "label", "fold"), rows_of(root, {"a": "0", "b": "1", "c": "2"}))
    with pytest.raises(DataError, match=r"row 2, .*the split '0' is none of train, validation, test; state it with"):
        load(path, image_size=8)
    stated = ReadOptions(splits={"0": "train", "1": "validation", "2": "test"})
    assert shades(load(path, image_size=8, reading=stated)) == {"train": {50}, "validation": {120}, "test": {200}}
    assert load(path, image_size=8, reading=ReadOptions(splits={})).sizes == {"train": 20, "validation": 2, "test": 2}


def test_contradicting_columns_are_an_error(make):
    root = make({"a": "train", "c": "test"})
    rows = [(*row, "test" if row[2] == "train" else "train") for row in rows_of(root, {"a": "train", "c": "test"})]
    with pytest.raises(DataError, match=r"columns \['set', 'subset'\] contain different splits"):
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


def test_other_names_are_not_splits():
    for name in ("pred", "extra", "unlabeled", "bullet_train", "contest", "value", "development_test", "", "1"):
        assert parse_split(name) is None
    assert parse_affixed_split("train_test") is None
    assert parse_affixed_split("seg_pred") is None


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """Returns a maker of builders of TensorFlow Datasets whose splits differ in shade."""
    import tensorflow_datasets as tfds

    class ShadesOfSplits(tfds.core.GeneratorBasedBuilder):
        """Pictures of one shade."""

        VERSION = tfds.core.Version("1.0.0")
        COUNTS: ClassVar = {}
        DTYPE = np.uint8

        def _info(self):
            shape = (8, 8, 1 if self.DTYPE is np.float32 else 3)
            image = tfds.features.Image(shape=shape, dtype=self.DTYPE)
            label = tfds.features.ClassLabel(names=["b", "a"])
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(shade) for name, shade in self.COUNTS.items()}

        def _generate_examples(self, shade):
            for index in range(8):
                yield (
                    index,
                    {"image": np.full(self.info.features["image"].shape, shade, self.DTYPE), "label": index % 2},
                )

    def made(splits, dtype=np.uint8):
        tfds.disable_progress_bar()
        ShadesOfSplits.COUNTS, ShadesOfSplits.DTYPE = splits, dtype
        return ShadesOfSplits(data_dir=str(tmp_path_factory.mktemp("tfds")))

    return made


def test_splits_of_tensorflow_datasets_are_recognized(builder):
    data = load(builder({"train": 50, "val": 120, "testing": 200, "unlabelled": 1}))
    assert shades(data) == {"train": {50}, "validation": {120}, "test": {200}}
    assert data.decisions == (
        "names read as splits: train as train, val as validation, testing as test",
        "splits not used: unlabelled",
    )
    assert load(builder({"train": 50}), class_names=["a", "b"]).class_names == ("a", "b")


def test_other_dtypes_of_tensorflow_datasets_are_an_error(builder):
    with pytest.raises(DataError, match="are float32; only uint8 can be loaded by name"):
        load(builder({"train": 0.5}, dtype=np.float32))
