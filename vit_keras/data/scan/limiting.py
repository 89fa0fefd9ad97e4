"""Draws some files of a long listing before they are checked, so that a limit does not decode them all."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from vit_keras.data.scan.listing import Listing

_WORTH_DRAWING = 10_000  # files; fewer are all checked, once, which is of use later
_SPARE = 1.1  # for files that can't be read
_LEAST_OF_CLASS = 5  # files, to train, to hold out, and to spare


def limit_listing(listing: Listing, *, limit: int, rates: tuple[float, ...], seed: int) -> Listing:
    """Returns enough files of each class for `limit` images of each split; of fewer than 10,000, all.

    Args:
        listing: All files.
        limit: Images of each split.
        rates: Fractions of the training files that are drawn for the splits that are missing.
        seed: Random seed.
    """
    count = len(listing.paths)
    if count < _WORTH_DRAWING:
        return listing
    rng = np.random.default_rng((seed, limit))
    chosen = [
        _draw(listing, np.flatnonzero(listing.splits == split), _count_needed(int(split), limit, rates), rng)
        for split in np.unique(listing.splits)
    ]
    indices = np.sort(np.concatenate(chosen))
    if len(indices) > count / 2:
        return listing
    return replace(
        listing,
        paths=[listing.paths[index] for index in indices.tolist()],
        labels=listing.labels[indices],
        splits=listing.splits[indices],
        members=None if listing.members is None else listing.members.take(indices),
        table=Path(f"{listing.table or listing.root}.limit-{limit}-{seed}"),  # a manifest of its own
        decisions=(
            *listing.decisions,
            f"for limit={limit:,}, {len(indices):,} of {count:,} images were drawn and checked",
        ),
    )


def _count_needed(split: int, limit: int, rates: tuple[float, ...]) -> int:
    smallest = min(rates, default=1.0) if split <= 0 else 1.0
    return math.ceil(_SPARE * limit / smallest)


def _draw(listing: Listing, members: np.ndarray, needed: int, rng: np.random.Generator) -> np.ndarray:
    """Returns about as many of these files as are needed: of each class the same fraction, and a few at least."""
    if needed >= len(members):
        return members
    if listing.labels.ndim == 2:
        return rng.permutation(members)[:needed]
    shuffled = rng.permutation(members)
    order = shuffled[np.argsort(listing.labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(listing.labels[order], return_index=True, return_counts=True)
    wanted = np.maximum(np.ceil(counts * (needed / len(members))).astype(int), _LEAST_OF_CLASS)
    return np.concatenate(
        [order[start : start + take] for start, take in zip(starts, np.minimum(wanted, counts), strict=True)]
    )
