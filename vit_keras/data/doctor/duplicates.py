"""Finds images that are there more than once: to the byte, or as good as the same to the eye."""

from itertools import combinations

import numpy as np

NEAR = 2
"""Bits in which the perceptual hashes of near-duplicates differ at most, of 64."""
_PARTS = [np.uint64(0xFFFF << shift) for shift in (0, 16, 32, 48)]


def same_content(sha256: np.ndarray) -> list[np.ndarray]:
    """Returns the groups of files whose bytes are the same, each as ascending indices.

    Args:
        sha256: `(count, 32)`, uint8.
    """
    rows = np.ascontiguousarray(sha256).view("V32").reshape(-1)
    _, number = np.unique(rows, return_inverse=True)
    return _groups(number)


def same_to_the_eye(phash: np.ndarray, sha256: np.ndarray, judged: np.ndarray) -> list[np.ndarray]:
    """Returns groups of near-duplicates, each as ascending indices; an image is in one group at most, with one it is near.

    Groups of which all files are the same to the byte are left out. No near-duplicate is missed: of two hashes that differ in
    two bits, two of the four 16-bit parts are the same, so hashes that share no two parts need no comparison.

    Args:
        phash: `(count,)`, uint64, perceptual hashes.
        sha256: `(count, 32)`, uint8.
        judged: `(count,)`, bool: images that have something to compare; near-blank ones have hashes of chance.
    """
    places = np.flatnonzero(judged)
    hashes, firsts, number = np.unique(phash[places], return_index=True, return_inverse=True)
    groups = _groups(_centres(firsts, _near_pairs(hashes))[number])
    found = (places[group] for group in groups)
    return [group for group in found if (sha256[group] != sha256[group[0]]).any()]


def _near_pairs(hashes: np.ndarray) -> np.ndarray:
    """Returns `(count, 2)` indices of distinct hashes that differ in `NEAR` bits or fewer."""
    pairs = [np.zeros((0, 2), "int64")]
    for first, second in combinations(_PARTS, 2):
        keys = hashes & (first | second)
        order = np.argsort(keys, kind="stable")
        keys, ordered = keys[order], hashes[order]
        step, left = 1, np.arange(len(keys))
        while True:  # each with its neighbour, then with the next but one, for as long as the two parts are the same
            left = left[left + step < len(keys)]
            left = left[keys[left] == keys[left + step]]
            if not len(left):
                break
            close = left[np.bitwise_count(ordered[left] ^ ordered[left + step]) <= NEAR]
            pairs.append(np.stack([order[close], order[close + step]], axis=1))
            step += 1
    return np.unique(np.concatenate(pairs), axis=0)


def _centres(firsts: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the hash that stands for the group of each: itself, or an earlier one, to which it is near if that can be.

    Groups do not chain, for a chain of small steps leads from any image to any other.

    Args:
        firsts: `(count,)`, where each hash is first met.
        pairs: Those that are near each other.
    """
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    starts = np.searchsorted(both[:, 0], np.arange(len(firsts) + 1))
    centres, free = np.arange(len(firsts)), np.ones(len(firsts), dtype=bool)
    near_some = np.unique(pairs)
    for centre in near_some[np.argsort(firsts[near_some], kind="stable")]:
        if free[centre]:
            near = both[starts[centre] : starts[centre + 1], 1]
            centres[near[free[near]]] = centre
            if not free[near].any():
                centres[centre] = centres[near[0]]
            free[near] = free[centre] = False
    return centres


def _groups(number: np.ndarray) -> list[np.ndarray]:
    """Returns the indices that have the same number, where there are two or more."""
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    return sorted(
        (order[start : start + size] for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True)),
        key=lambda group: int(group[0]),
    )
