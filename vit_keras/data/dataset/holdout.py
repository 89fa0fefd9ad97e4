"""Draws validation and test images where a source has no such split: stratified, seeded, duplicates in the same split."""

import numpy as np

from vit_keras.data.dataset.stratification import hold_out_rows
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.reporting.text import plural
from vit_keras.validation import is_number


def hold_out(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    *,
    seed: int,
    rate: float = 0.1,
    duplicate_ids: np.ndarray | None = None,
) -> np.ndarray:
    """Returns a mask of the images held out: `rate` of each class, at least one.

    Images of a class with equal `duplicate_ids` `(count,)` are held out together. Raises `DataError` for a class of one image. Labels
    that are rows, several classes or numbers, are stratified by `hold_out_rows`.
    """
    if labels.ndim == 2:
        return hold_out_rows(labels, rate=rate, seed=seed, duplicate_ids=duplicate_ids)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(f"Class {name!r} has {plural(len(members), 'image')}; it needs two, to hold one out.")
        unique = members
        if duplicate_ids is not None:
            unique = members[np.unique(duplicate_ids[members], return_index=True)[1]]
        if len(unique) < 2:  # a class of copies of one image is split regardless
            unique = members
        drawn = rng.permutation(unique)[: min(max(1, round(rate * len(members))), len(unique) - 1)]
        chosen[drawn] = True
        if duplicate_ids is not None and len(unique) < len(members):
            chosen[members] |= np.isin(duplicate_ids[members], duplicate_ids[drawn])
    return chosen


def split_indices(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    missing: tuple[str, ...],
    *,
    rates: tuple[float, float],
    seed: int,
    duplicate_ids: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Returns the indices of the training images and of each missing split, "test" and "validation".

    `rates` are the fractions of each class for validation and test. Raises `DataError` if a class has too few images.
    """
    needed = {1: "one, to train", 2: "two, to train and to hold one out", 3: "three, to train, validate and test"}
    if labels.ndim == 2 and len(labels) < 1 + len(missing):
        raise DataError(
            f"There are {plural(len(labels), 'readable image')}; each of {1 + len(missing)} splits needs one."
        )
    for label, name in enumerate(class_names if labels.ndim == 1 else ()):
        count = int((labels == label).sum())
        if count < 1 + len(missing):
            raise DataError(
                f"Class {name!r} has {plural(count, 'readable image')}; it needs {needed[1 + len(missing)]}."
            )
    train, indices, left = np.arange(len(labels)), {}, 1.0
    for name, rate in (("test", rates[1]), ("validation", rates[0])):
        if name not in missing:
            continue
        held = hold_out(
            labels[train],
            class_names,
            seed=seed,
            rate=rate / left,
            duplicate_ids=None if duplicate_ids is None else duplicate_ids[train],
        )
        train, indices[name] = train[~held], train[held]
        left -= rate
    return {"train": train, **indices}


def check_rates(split: object) -> tuple[float, float]:
    """Returns the fractions for validation and test; raises `InvalidArgumentError` unless they leave images to train on."""
    if (
        not isinstance(split, tuple | list)
        or len(split) != 2
        or not all(is_number(rate) and 0 < rate < 1 for rate in split)
        or sum(split) >= 1
    ):
        raise InvalidArgumentError(
            f"split={split!r}: expected two fractions above 0 for validation and test with a sum below 1, such as (0.1, 0.1)."
        )
    return (split[0], split[1])
