import numpy as np
import pytest

from vit_keras.data.dataset.holdout import describe_splits_drawn, hold_out, split_indices
from vit_keras.errors import DataError


def test_holding_out_is_stratified_and_seeded_and_leaves_a_single_image():
    labels = np.repeat([0, 1, 2], [100, 40, 4])
    held = hold_out(labels, 3, seed=3)
    assert np.bincount(labels[held]).tolist() == [10, 4, 1]
    assert (held == hold_out(labels, 3, seed=3)).all()
    assert (held != hold_out(labels, 3, seed=4)).any()
    assert not hold_out(np.array([0, 0, 0, 1]), 2, seed=0)[3]
    places = split_indices(np.zeros(200, int), ("a",), ("test", "validation"), rates=(0.25, 0.25), seed=0)
    assert {name: len(chosen) for name, chosen in places.items()} == {"train": 100, "test": 50, "validation": 50}


def test_duplicates_stay_in_the_same_split():
    labels = np.repeat([0, 1], 60)
    ids = np.concatenate([np.arange(60) // 3, 100 + np.arange(60) // 2])
    places = split_indices(labels, ("a", "b"), ("test", "validation"), rates=(0.2, 0.2), seed=0, duplicate_ids=ids)
    found = [set(ids[chosen]) for chosen in places.values()]
    assert sum(map(len, found)) == len(set.union(*found)) == 20 + 30
    assert all(len(chosen) > 0 for chosen in places.values())


def test_a_class_of_copies_of_one_image_is_split_regardless():
    labels = np.repeat([0, 1], 6)
    places = split_indices(labels, ("a", "b"), ("test",), rates=(0.1, 0.3), seed=0, duplicate_ids=labels)
    assert [len(places[name]) for name in ("train", "test")] == [8, 4]


def drawn(labels, names, missing=("test", "validation"), rates=(0.1, 0.1)):
    places = split_indices(labels, names, missing, rates=rates, seed=0)
    assert sorted(np.concatenate(list(places.values()))) == list(range(len(labels)))
    counts = {split: np.bincount(labels[chosen], minlength=len(names)).tolist() for split, chosen in places.items()}
    return counts, describe_splits_drawn(labels, names, places, missing)


def test_classes_of_one_and_two_images_are_used_for_training_only_which_is_said():
    counts, (said,) = drawn(np.repeat([0, 1, 2], [20, 2, 1]), ("ant", "bee", "cow"))
    assert counts == {"train": [16, 2, 1], "test": [2, 0, 0], "validation": [2, 0, 0]}
    assert said.startswith("2 classes with too few images to hold one out are used for training only")
    assert said.endswith("'bee' (2), 'cow' (1)")
    counts, (said,) = drawn(np.repeat([0, 1, 2], [20, 2, 1]), ("ant", "bee", "cow"), missing=("validation",))
    assert counts == {"train": [18, 1, 1], "validation": [2, 1, 0]}
    assert "says nothing about it: 'cow' (1)" in said


def test_a_long_tail_is_split_by_class():
    sizes = [5000, 1200, 300, 70, 12, 5, 3, 2, 1]
    counts, (said,) = drawn(np.repeat(np.arange(9), sizes), tuple("abcdefghi"))
    assert counts["test"] == counts["validation"] == [500, 120, 30, 7, 1, 1, 1, 0, 0]
    assert counts["train"] == [4000, 960, 240, 56, 10, 3, 1, 2, 1]
    assert "'h' (2), 'i' (1)" in said


def test_a_rate_of_0_draws_no_test_split():
    counts, said = drawn(np.repeat([0, 1], [20, 10]), ("a", "b"), rates=(0.2, 0))
    assert counts == {"train": [16, 8], "validation": [4, 2]}
    assert said == ("no test split: results are on the validation images, which also choose the best epoch",)


@pytest.mark.parametrize(("counts", "rates", "message"), [
    ([2, 2, 1], (0.1, 0.1), r"no class has 3, to train and to hold out images for test and validation\. Add images, or leave out the test"),
    ([1, 1], (0.1, 0), "no class has 2, to train and to hold out images for validation"),
    ([5, 0], (0.1, 0.1), "Class 'b' has 0 readable images"),
])  # fmt: skip
def test_a_set_of_which_nothing_can_be_held_out_is_an_error(counts, rates, message):
    with pytest.raises(DataError, match=message):
        drawn(np.repeat(np.arange(len(counts)), counts), tuple("abc")[: len(counts)], rates=rates)
