from pathlib import Path

import numpy as np

from vit_keras.data.scan.limiting import limit_listing
from vit_keras.data.scan.listing import Listing


def make_listing(labels, splits=None):
    count = len(labels)
    return Listing(
        root=Path("root"),
        class_names=("a", "b", "rare"),
        paths=[f"{index}.png" for index in range(count)],
        labels=np.asarray(labels, "int32"),
        splits=np.full(count, -1, "int8") if splits is None else np.asarray(splits, "int8"),
    )


def test_as_many_files_are_drawn_of_each_class_as_the_splits_need():
    labels = [0] * 20_000 + [1] * 10_000 + [2] * 6
    few = limit_listing(make_listing(labels), limit=100, rates=(0.1, 0.1), seed=0)
    assert np.bincount(few.labels).tolist() == [734, 367, 5]  # 1.1 * 100 / 0.1 of 30,006, rounded up per class
    assert [labels[int(path.removesuffix(".png"))] for path in few.paths] == few.labels.tolist()
    assert few.paths == sorted(set(few.paths), key=lambda path: int(path.removesuffix(".png")))
    assert few.decisions == ("for limit=100, 1,106 of 30,006 images were drawn and checked",)
    again, other = (limit_listing(make_listing(labels), limit=100, rates=(0.1, 0.1), seed=seed) for seed in (0, 1))
    assert few.paths == again.paths != other.paths
    assert len({each.table for each in (few, other, make_listing(labels))}) == 3


def test_splits_that_exist_need_no_more_than_the_limit():
    few = limit_listing(make_listing([0, 1] * 10_000, [0, 0, 2, 2] * 5_000), limit=50, rates=(0.1,), seed=0)
    assert [int((few.splits == split).sum()) for split in (0, 2)] == [550, 56]


def test_of_short_listings_all_files_are_checked():
    short = make_listing([0, 1] * 4_000)
    assert limit_listing(short, limit=10, rates=(0.1, 0.1), seed=0) is short
    long = make_listing([0, 1] * 6_000)
    assert limit_listing(long, limit=6_000, rates=(0.1, 0.1), seed=0) is long
