import numpy as np
import pytest

from vit_keras.data.doctor.duplicates import NEAR, find_duplicates, find_near_duplicates


def contents(*words):
    rows = np.zeros((len(words), 32), "uint8")
    for row, word in zip(rows, words, strict=True):
        row[:] = ord(word)
    return rows


def look(hashes, words=None, comparable=None):
    hashes = np.asarray(hashes, dtype="uint64")
    rows = np.random.default_rng(1).integers(0, 256, (len(hashes), 32), "uint8") if words is None else contents(*words)
    comparable = np.ones(len(hashes), bool) if comparable is None else np.asarray(comparable)
    return [group.tolist() for group in find_near_duplicates(hashes, rows, comparable)]


def test_same_bytes_are_grouped_in_order():
    assert [group.tolist() for group in find_duplicates(contents(*"abcabdd"))] == [[0, 3], [1, 4], [5, 6]]
    for words in ("", "a", "abc"):
        assert find_duplicates(contents(*words)) == []
    rows = contents("a", "a")
    rows[1, -1] = 0
    assert find_duplicates(rows) == []


@pytest.mark.parametrize(("bits", "found"), [(0, True), (2, True), (3, False)])
def test_hashes_up_to_two_bits_apart_look_the_same(bits, found):
    places = np.random.default_rng(bits).permutation(64)[:bits]
    first = 0x0123456789ABCDEF
    second = first ^ sum(1 << int(place) for place in places)
    assert look([first, second]) == ([[0, 1]] if found else [])


def test_no_pair_is_missed_and_none_is_invented():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 400, dtype="uint64")
    flips = [np.uint64(1) << rng.integers(0, 64, 100, dtype="uint64") for _ in range(3)]
    hashes = np.concatenate([hashes, hashes[:100] ^ flips[0], hashes[50:150] ^ flips[1] ^ flips[2], hashes[:20]])
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= NEAR
    np.fill_diagonal(near, False)
    groups = look(hashes)
    assert sorted(place for group in groups for place in group) == np.flatnonzero(near.any(axis=1)).tolist()
    for group in groups:
        for place in group:
            assert near[place, group].any()


def test_a_chain_of_small_steps_is_not_one_group():
    chain = [0]
    for step in range(16):
        chain.append(chain[-1] | 0b11 << 2 * step)
    groups = look(chain)
    assert len(groups) > 3
    assert max(map(len, groups)) <= 4


def test_files_with_the_same_bytes_or_not_comparable_are_no_near_duplicates():
    assert look([7, 7, 7], "aaa") == []
    assert look([7, 7, 7], "aab") == [[0, 1, 2]]
    assert look([7, 7, 7, 7], comparable=[True, False, True, False]) == [[0, 2]]
    assert look([7, 7], comparable=[False, False]) == look([]) == []


@pytest.mark.slow
def test_a_million_hashes_take_seconds():
    hashes = np.random.default_rng(0).integers(0, 2**64, 1_000_000, dtype="uint64")
    hashes[1::1000] = hashes[::1000] ^ np.uint64(1 << 40)
    assert len(look(hashes)) == 1000
