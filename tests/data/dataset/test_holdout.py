import numpy as np
import pytest

from vit_keras.data.dataset.holdout import hold_out, split_indices
from vit_keras.errors import DataError


def test_holding_out_is_stratified_and_seeded_and_needs_two_images_per_class():
    labels = np.repeat([0, 1, 2], [100, 40, 4])
    held = hold_out(labels, ("a", "b", "c"), seed=3)
    assert np.bincount(labels[held]).tolist() == [10, 4, 1]
    assert (held == hold_out(labels, ("a", "b", "c"), seed=3)).all()
    assert (held != hold_out(labels, ("a", "b", "c"), seed=4)).any()
    with pytest.raises(DataError, match="'b' has 1 image; it needs two"):
        hold_out(np.array([0, 0, 0, 1]), ("a", "b"), seed=0)
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
