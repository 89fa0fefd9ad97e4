"""Draws validation and test images where a source has no such split: stratified, seeded, duplicates in the same split."""

from collections.abc import Mapping

import numpy as np

from vit_keras.data.dataset.stratification import hold_out_rows
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.reporting.text import plural
from vit_keras.validation import is_number

TRAINING_ONLY = "used for training only, so the result says nothing about"
NO_TEST = "no test split: results are on the validation images, which also choose the best epoch"
_MOST_LISTED = 10  # classes


def hold_out(
    labels: np.ndarray,
    num_classes: int,
    *,
    seed: int,
    rate: float = 0.1,
    duplicate_ids: np.ndarray | None = None,
) -> np.ndarray:
    """Returns a mask of the images held out: `rate` of each class, at least one.

    Images of a class with equal `duplicate_ids` `(count,)` are held out together. Of a class of one image, none is. Labels
    that are rows, several classes or numbers, are stratified by `hold_out_rows`.
    """
    if labels.ndim == 2:
        return hold_out_rows(labels, rate=rate, seed=seed, duplicate_ids=duplicate_ids)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            continue
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

    `rates` are the fractions of each class for validation and test; there is no test split where its rate is 0. A class with fewer
    images than splits is used for training only. Raises `DataError` if a class has no images, or all have too few.
    """
    drawn = [(name, rate) for name, rate in (("test", rates[1]), ("validation", rates[0])) if name in missing and rate]
    if labels.ndim == 2:
        too_few = np.full(len(labels), len(labels) < 1 + len(drawn))
    else:
        counts = np.bincount(labels, minlength=len(class_names))
        if not counts.all():
            name = class_names[int(counts.argmin())]
            hint = " Labels in integers start at 0: subtract 1 from labels that start at 1." if name == "0" else ""
            raise DataError(f"Class {name!r} has 0 readable images; it needs one, to train.{hint}")
        too_few = counts[labels] < 1 + len(drawn)
    if drawn and too_few.all():
        raise DataError(
            f"There are {plural(len(labels), 'readable image')}, and no class has {1 + len(drawn)}, to train and to hold out images for "
            f"{' and '.join(name for name, _ in drawn)}. Add images, "
            + ("or leave out the test split with split=(0.1, 0)." if len(drawn) == 2 else "or pass validation images.")
        )
    train, indices, left = np.arange(len(labels)), {}, 1.0
    eligible = labels if labels.ndim == 2 else np.where(too_few, -1, labels)
    for name, rate in drawn:
        held = hold_out(
            eligible[train],
            len(class_names),
            seed=seed,
            rate=rate / left,
            duplicate_ids=None if duplicate_ids is None else duplicate_ids[train],
        )
        train, indices[name] = train[~held], train[held]
        left -= rate
    return {"train": train, **indices}


def describe_splits_drawn(
    labels: np.ndarray, class_names: tuple[str, ...], places: Mapping[str, np.ndarray], missing: tuple[str, ...]
) -> tuple[str, ...]:
    """Returns a sentence about classes that only the training split has, and one if there is no test split."""
    said: tuple[str, ...] = ()
    held = [places[name] for name in missing if name in places]
    if labels.ndim == 1 and held:
        counts = np.bincount(labels, minlength=len(class_names))
        tested = np.bincount(labels[np.concatenate(held)], minlength=len(class_names))
        few = np.flatnonzero((counts > 0) & (tested == 0))
        if len(few):
            listed = ", ".join(f"{class_names[label]!r} ({counts[label]})" for label in few[:_MOST_LISTED])
            more = f" and {len(few) - _MOST_LISTED} more" if len(few) > _MOST_LISTED else ""
            one = len(few) == 1
            said += (
                f"{plural(len(few), 'class', 'classes')} with too few images to hold one out {'is' if one else 'are'} {TRAINING_ONLY} "
                f"{'it' if one else 'them'}: {listed}{more}",
            )
    if "test" in missing and "test" not in places:
        said += (NO_TEST,)
    return said


def check_rates(split: object) -> tuple[float, float]:
    """Returns the fractions for validation and test; raises `InvalidArgumentError` unless they leave images to train on."""
    if (
        not isinstance(split, tuple | list)
        or len(split) != 2
        or not all(is_number(rate) and 0 <= rate < 1 for rate in split)
        or not split[0]
        or sum(split) >= 1
    ):
        raise InvalidArgumentError(
            f"split={split!r}: expected two fractions for validation (above 0) and test (0 for none) with a sum below 1, such as (0.1, 0.1)."
        )
    return (split[0], split[1])
