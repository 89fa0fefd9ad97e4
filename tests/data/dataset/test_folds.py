"""Folds of a cross-validation; what must hold is counted by hand."""

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import load
from vit_keras.data.dataset.folds import deal_folds, make_folds
from vit_keras.errors import DataError, InvalidArgumentError

LABELS = np.repeat([0, 1, 2, 3], [23, 11, 2, 1])


def arrays(labels=LABELS):
    return np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3)).astype("uint8"), labels


def digests(split):
    return split.hashes()


def test_every_image_is_tested_once_by_a_model_trained_without_it():
    data = load(arrays(), seed=3)
    folds = make_folds(data, 5)
    everything = [digest for split in data.splits.values() for digest in digests(split)]
    tested = [digest for part in folds.parts for digest in digests(part.splits["test"])]
    assert len(tested) == len(set(tested)) == len(LABELS) - 1
    assert tested == digests(folds.tested)
    (single,) = set(everything) - set(tested)  # of class 3, which has one image
    for part in folds.parts:
        seen = [digest for split in part.splits.values() for digest in digests(split)]
        assert sorted(seen) == sorted(everything)
        assert single in digests(part.splits["train"])
        assert set(part.splits["train"].labels) == {0, 1, 2, 3}
    assert "test" not in folds.whole.splits
    assert sum(folds.whole.sizes.values()) == len(LABELS)
    assert any(
        "1 image without another of the class: used for training only, never tested" in line
        for line in folds.whole.decisions
    )


def test_folds_are_stratified_and_of_equal_size():
    found = deal_folds(LABELS, np.arange(len(LABELS)), 5, seed=0)
    table = np.array([[int(((found == fold) & (label == LABELS)).sum()) for label in range(4)] for fold in range(5)])
    assert sorted(table[:, 0]) == [4, 4, 5, 5, 5]
    assert sorted(table[:, 1]) == [2, 2, 2, 2, 3]
    assert sorted(table.sum(axis=1)) == [7, 7, 7, 7, 8]
    assert (found == deal_folds(LABELS, np.arange(len(LABELS)), 5, seed=0)).all()
    assert (found != deal_folds(LABELS, np.arange(len(LABELS)), 5, seed=1)).any()


def test_identical_images_are_in_one_fold_and_copies_of_one_image_are_not_tested():
    labels, ids = np.repeat([0, 1, 2], [12, 12, 6]), np.concatenate([np.arange(24) // 3, np.full(6, 99)])
    found = deal_folds(labels, ids, 4, seed=0)
    assert all(len(set(found[ids == each])) == 1 for each in set(ids))
    assert (found[:24] >= 0).all()
    assert (found[24:] == -1).all()


def test_files_are_joined_and_keep_their_labels(make_folder):
    root = make_folder({"cat": 7, "dog": 6})
    for number in range(7):  # distinct content
        Image.new("RGB", (9, 9), (number * 30, 0, 0)).save(root / "cat" / f"{number:02d}.png")
    data = load(root, image_size=8)
    folds = make_folds(data, 3)
    names = [part.splits["test"].files.name(index) for part in folds.parts for index in range(part.sizes["test"])]
    assert sorted(names) == sorted(map(str, root.rglob("*.png")))
    for part in folds.parts:
        for split in part.splits.values():
            found = [split.files.name(index).split("/")[-2] for index in range(len(split))]
            assert found == [data.class_names[label] for label in split.labels]
            np.testing.assert_array_equal(split.image(0).shape, (8, 8, 3))


def test_multi_label_images_are_dealt_at_random():
    images, _ = arrays()
    rows = np.random.default_rng(1).integers(0, 2, (len(images), 3))
    folds = make_folds(load((images, rows), task="multi_label"), 4)
    assert sum(part.sizes["test"] for part in folds.parts) == len(images)


@pytest.mark.parametrize("count", [1, 0, 2.5, True])
def test_other_counts_are_an_error(count):
    with pytest.raises(InvalidArgumentError, match="folds="):
        make_folds(load(arrays()), count)


def test_more_folds_than_images_are_an_error():
    with pytest.raises(DataError, match="37 images, of which 36 can be tested, are too few for folds=40"):
        make_folds(load(arrays()), 40)
