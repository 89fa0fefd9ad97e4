import numpy as np
import pytest

from vit_keras.data.dataset.holdout import split_indices
from vit_keras.data.dataset.stratification import hold_out_rows
from vit_keras.errors import DataError


def several_labels(count=1000, classes=6, seed=0):
    """Correlated labels with frequencies from 50 % down to 1 %."""
    rng = np.random.default_rng(seed)
    common = rng.random((count, 1))
    rates = np.array([0.5, 0.3, 0.15, 0.08, 0.03, 0.01])[:classes]
    return (0.5 * common + 0.5 * rng.random((count, classes)) < rates).astype("uint8")


@pytest.mark.parametrize("rate", [0.1, 0.25])
def test_each_class_has_the_same_fraction_of_the_images_held_out(rate):
    labels = several_labels()
    held = hold_out_rows(labels, rate=rate, seed=3)
    assert abs(held.mean() - rate) < 0.01
    per_class = labels[held].sum(axis=0)
    assert (np.abs(per_class - rate * labels.sum(axis=0)) <= 1).all()


def test_every_class_of_two_images_is_in_both_parts_and_one_of_one_image_trains():
    labels = np.zeros((60, 4), "uint8")
    labels[:40, 0], labels[[0, 1], 1], labels[5, 2], labels[40:, 3] = 1, 1, 1, 1
    for seed in range(5):
        held = hold_out_rows(labels, rate=0.1, seed=seed)
        assert labels[held].sum(axis=0)[1:3].tolist() == [1, 0]


def test_copies_of_an_image_stay_together():
    labels, ids = several_labels(400), np.arange(400) // 4
    held = hold_out_rows(labels, rate=0.2, seed=0, duplicate_ids=ids)
    assert (held.reshape(100, 4).all(axis=1) == held.reshape(100, 4).any(axis=1)).all()
    assert 0.15 < held.mean() < 0.25


def test_numbers_are_held_out_over_their_whole_range():
    numbers = np.random.default_rng(0).lognormal(size=(500, 2)).astype("float32")
    held = hold_out_rows(numbers, rate=0.1, seed=0)
    assert abs(held.sum() - 50) <= 2
    for column in numbers.T:
        ranks = column.argsort().argsort()[held]
        assert (np.abs(np.histogram(ranks, bins=10, range=(0, 500))[0] - 5) <= 1).all()
    assert (held == hold_out_rows(numbers, rate=0.1, seed=0)).all()
    assert (held != hold_out_rows(numbers, rate=0.1, seed=1)).any()


def test_the_splits_of_rows_are_disjoint_and_complete():
    labels = several_labels(200)
    found = split_indices(labels, tuple("abcdef"), ("test", "validation"), rates=(0.1, 0.2), seed=0)
    assert sorted(np.concatenate(list(found.values()))) == list(range(200))
    assert abs(len(found["test"]) - 40) <= 2
    assert abs(len(found["validation"]) - 20) <= 2
    with pytest.raises(DataError, match="There are 2 readable images, and no class has 3"):
        split_indices(labels[:2], tuple("abcdef"), ("test", "validation"), rates=(0.1, 0.2), seed=0)


def test_few_images_leave_one_for_each_split():
    numbers = np.arange(3, dtype="float32")[:, None]
    found = split_indices(numbers, ("age",), ("test", "validation"), rates=(0.1, 0.1), seed=0)
    assert [len(each) for each in found.values()] == [1, 1, 1]
