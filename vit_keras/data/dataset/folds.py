"""Folds of a cross-validation: every image is tested once, by a model that was trained without it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import NO_TEST, TRAINING_ONLY, split_indices
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.joining import join_splits
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.reporting.text import plural

_VALIDATION_RATE = 0.1  # of the images that a fold does not test


@dataclass(frozen=True, kw_only=True, eq=False)
class Folds:
    """The data of a cross-validation.

    Args:
        whole: All images, without a test split, to train the final model on.
        parts: One data set per fold; their test splits do not overlap.
        tested: The images of these test splits, one after the other.
    """

    whole: ImageData
    parts: tuple[ImageData, ...]
    tested: Split | EncodedSplit


def make_folds(data: ImageData, count: int) -> Folds:
    """Returns the folds of all images of a data set: stratified, seeded, identical images in the same fold.

    A class of one image, or of copies of one, can't be tested, since no other image of it would be left; it is used for training only.

    Args:
        data: Its splits are joined.
        count: Number of folds, at least 2.

    Raises:
        InvalidArgumentError: `count` is not an integer of at least 2.
        DataError: There are fewer images than folds.

    Example:
        >>> import vit_keras as vk
        >>> folds = make_folds(vk.data.load("emoji", limit=50), 5)
        >>> [part.sizes["test"] for part in folds.parts]
        [30, 30, 30, 30, 30]
    """
    if type(count) is not int or count < 2:
        raise InvalidArgumentError(f"folds={count!r}: expected an integer of at least 2, such as 5.")
    pool = join_splits([data.splits[name] for name in data.splits])
    _, ids = np.unique(np.frombuffer(b"".join(pool.hashes()), "V32"), return_inverse=True)
    fold_of = deal_folds(pool.labels, ids.reshape(-1), count, seed=data.seed)
    sizes = np.bincount(fold_of[fold_of >= 0], minlength=count)
    if not sizes.all():
        raise DataError(
            f"{data.name}: {plural(len(pool), 'image')}, of which {int(sizes.sum())} can be tested, are too few for folds={count}; reduce "
            "it, or add images."
        )
    own = " (its own test split included)" if "test" in data.splits else ""
    said = [f"cross-validation with {count} folds of all {len(pool):,} images{own}"]
    untested = int((fold_of < 0).sum())
    if untested:
        said.append(f"{plural(untested, 'image')} without another of the class: used for training only, never tested")
    still_true = [line for line in data.decisions if line != NO_TEST and TRAINING_ONLY not in line]
    decisions = (*still_true, *said)

    def make_data(name: str, test: np.ndarray) -> ImageData:
        rest = np.flatnonzero(~test)
        drawn = split_indices(
            pool.labels[rest],
            data.class_names,
            ("validation", "test"),
            rates=(_VALIDATION_RATE, 0),
            seed=data.seed,
            duplicate_ids=ids.reshape(-1)[rest],
        )
        splits: dict[str, Any] = {split: pool.subset(rest[chosen]) for split, chosen in drawn.items()}
        if test.any():
            splits["test"] = pool.subset(np.flatnonzero(test))
        return replace(data, name=name, splits=splits, decisions=decisions)

    return Folds(
        whole=make_data(data.name, np.zeros(len(pool), dtype=bool)),
        parts=tuple(
            make_data(f"{data.name}, fold {number + 1} of {count}", fold_of == number) for number in range(count)
        ),
        tested=pool.subset(np.concatenate([np.flatnonzero(fold_of == number) for number in range(count)])),
    )


def deal_folds(labels: np.ndarray, ids: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Returns the fold of each image, `(count,)`, from 0; -1 for an image that can't be tested.

    Args:
        labels: `(images,)` class indices, or `(images, columns)`, which are dealt at random.
        ids: `(images,)`, equal for identical images.
        count: Number of folds.
        seed: Random seed.
    """
    rng, folds, first = np.random.default_rng(seed), np.full(len(labels), -1), 0
    classes = np.zeros(len(labels), int) if labels.ndim == 2 else labels
    dealt: dict[int, int] = {}  # the fold of identical images, also of two classes
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        unique = rng.permutation(np.unique(ids[members]))
        if len(unique) < 2:
            continue
        for place, each in enumerate(unique):
            dealt.setdefault(int(each), (first + place) % count)
        first += len(unique)  # the next class continues where this one ended, so that folds have equal sizess
        folds[members] = [dealt[int(each)] for each in ids[members]]
    return folds
