"""Finds duplicates: files with the same bytes, and images that look the same."""

from itertools import combinations

import numpy as np

NEAR = 2  # bits of 64 in which the perceptual hashes of near-duplicates may differ
_PARTS = [np.uint64(0xFFFF << shift) for shift in (0, 16, 32, 48)]


def find_duplicates(sha256: np.ndarray) -> list[np.ndarray]:
    """Returns the groups of files with the same bytes, as ascending indices, given hashes `(count, 32)`, uint8."""
    rows = np.ascontiguousarray(sha256).view("V32").reshape(-1)
    _, number = np.unique(rows, return_inverse=True)
    return _group(number)


def find_near_duplicates(phash: np.ndarray, sha256: np.ndarray, comparable: np.ndarray) -> list[np.ndarray]:
    """Returns groups of near-duplicates, as ascending indices; an image is in at most one group.

    Groups of files that all have the same bytes are left out. No pair is missed: if two hashes differ in two bits, two of their four
    16-bit parts are equal, so only hashes that share two parts need to be compared. `comparable` leaves out nearly blank images,
    whose hashes are random.
    """
    places = np.flatnonzero(comparable)
    hashes, firsts, number = np.unique(phash[places], return_index=True, return_inverse=True)
    groups = _group(_choose_centers(firsts, _find_near_pairs(hashes))[number])
    found = (places[group] for group in groups)
    return [group for group in found if (sha256[group] != sha256[group[0]]).any()]


def _find_near_pairs(hashes: np.ndarray) -> np.ndarray:
    """Returns `(count, 2)` indices of distinct hashes that differ in at most `NEAR` bits."""
    pairs = [np.zeros((0, 2), "int64")]
    for first, second in combinations(_PARTS, 2):
        keys = hashes & (first | second)
        order = np.argsort(keys, kind="stable")
        keys, ordered = keys[order], hashes[order]
        step, left = 1, np.arange(len(keys))
        while True:  # compares each with its neighbor, then with the next but one, while the two parts are equal
            left = left[left + step < len(keys)]
            left = left[keys[left] == keys[left + step]]
            if not len(left):
                break
            close = left[np.bitwise_count(ordered[left] ^ ordered[left + step]) <= NEAR]
            pairs.append(np.stack([order[close], order[close + step]], axis=1))
            step += 1
    return np.unique(np.concatenate(pairs), axis=0)


def _choose_centers(firsts: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the hash at the center of each hash's group: itself or an earlier one, near it if possible.

    Groups do not chain, because small steps lead from any image to any other. `firsts` is the first image with each hash.
    """
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    starts = np.searchsorted(both[:, 0], np.arange(len(firsts) + 1))
    centers, free = np.arange(len(firsts)), np.ones(len(firsts), dtype=bool)
    near_some = np.unique(pairs)
    for center in near_some[np.argsort(firsts[near_some], kind="stable")]:
        if free[center]:
            near = both[starts[center] : starts[center + 1], 1]
            centers[near[free[near]]] = center
            if not free[near].any():
                centers[center] = centers[near[0]]
            free[near] = free[center] = False
    return centers


def _group(number: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    return sorted(
        (order[start : start + size] for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True)),
        key=lambda group: int(group[0]),
    )
