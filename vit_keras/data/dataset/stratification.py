"""Holds out images whose labels are rows, several classes or numbers, so that both parts have the same distribution of labels."""

import numpy as np

_MOST_BINS = 10  # of the numbers of a regression


def hold_out_rows(labels: np.ndarray, *, rate: float, seed: int, duplicate_ids: np.ndarray | None = None) -> np.ndarray:
    """Returns a mask `(count,)` of the images held out: of each class, or each range of a number, about the same fraction.

    Paper: Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data", figure 1 (iterative stratification):
    the rarest label is dealt first. A number to predict is cut into ranges with equally many images, which are the labels. Of each class
    with two images or more, at least one image is held out. Images with equal `duplicate_ids` `(count,)` stay together.

    Args:
        labels: `(count, classes)`, 0 or 1; or `(count, targets)`, floating point.
        rate: Fraction to hold out.
        seed: Random seed.
        duplicate_ids: `(count,)`, or None.
    """
    count = len(labels)
    ids = np.arange(count) if duplicate_ids is None else np.unique(duplicate_ids, return_inverse=True)[1].reshape(-1)
    is_regression = labels.dtype.kind == "f"
    indicators = _cut(labels, int(np.clip(round(rate * count), 1, _MOST_BINS))) if is_regression else labels
    units = int(ids.max()) + 1 if count else 0
    sizes = np.bincount(ids, minlength=units)
    members = np.zeros((units, indicators.shape[1]))
    np.add.at(members, ids, indicators)
    held = _deal(members, sizes, rate=rate, rng=np.random.default_rng(seed), one_each=not is_regression)
    mask: np.ndarray = held[ids]
    return mask


def _cut(numbers: np.ndarray, bins: int) -> np.ndarray:
    """Returns 0/1 columns, for each target and range, `(count, targets * bins)`; equal numbers are in one range."""
    columns = []
    for values in numbers.T:
        edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
        places = np.searchsorted(edges, values, side="right")
        columns.append(places[:, None] == np.arange(bins))
    return np.concatenate(columns, axis=1).astype("uint8")


def _deal(
    members: np.ndarray, sizes: np.ndarray, *, rate: float, rng: np.random.Generator, one_each: bool
) -> np.ndarray:
    """Returns which units are held out, `(units,)`; `members` `(units, labels)` counts a unit's images with each label."""
    per_label, units = members.sum(axis=0), (members > 0).sum(axis=0)
    wanted = rate * per_label  # images with each label that are still to be held out
    if one_each:
        wanted = np.where(units >= 2, np.maximum(wanted, 1), 0.0)
    wanted = np.stack([per_label - wanted, wanted])  # (2, labels): stay, held out
    room = np.array([sizes.sum() * (1 - rate), max(1.0, sizes.sum() * rate)])
    held, is_left, left = np.zeros(len(sizes), bool), np.ones(len(sizes), bool), units.copy()

    def assign(unit: int, claims: np.ndarray) -> None:
        part = int(np.lexsort((room, claims))[-1])  # the larger claim; of equal ones, more room
        held[unit], is_left[unit] = part == 1, False
        wanted[part] -= members[unit]
        room[part] -= sizes[unit]
        left[:] -= members[unit] > 0

    while left.any():
        label = int(np.where(left > 0, left, len(sizes) + 1).argmin())  # the rarest
        for unit in rng.permutation(np.flatnonzero(is_left & (members[:, label] > 0))):
            assign(int(unit), wanted[:, label].round(9))
    for unit in rng.permutation(np.flatnonzero(is_left)):  # without any label
        assign(int(unit), room.round(9))
    if len(sizes) > 1 and not held.any():
        held[rng.integers(len(sizes))] = True
    return held
