import numpy as np
import oracle
import pytest

from vit_keras.layers import RotaryEmbedding

GRID = (2, 3)
HEADS = oracle.tokens(2, 8, 3, 8)
VARIANTS = [
    {"kind": "axial"},
    {"kind": "axial", "temperature": 1e4, "reference": (16, 16)},
    {"kind": "axial", "order": "xy"},
    {"kind": "axial", "order": "xy", "offset": 1.0},
    {"kind": "axial", "temperature": 1e4, "reference": (5, 7), "offset": 1.0},
    {"kind": "mixed", "temperature": 10.0, "order": "xy"},
    {"kind": "centered"},
]


@pytest.mark.parametrize("arguments", VARIANTS)
def test_equals_the_oracle(arguments):
    rotary = oracle.build(RotaryEmbedding(grid_size=GRID, **arguments), HEADS.shape)
    settings = {"grid_size": GRID, "temperature": 100.0, "order": "yx", **arguments}
    expected = oracle.rotate(HEADS.astype("float64"), oracle.weights_of(rotary), **settings)
    oracle.assert_close(oracle.call(rotary, HEADS), expected)


@pytest.mark.parametrize("kind", ["axial", "mixed", "centered"])
def test_rotation_keeps_lengths_and_leaves_prefix_tokens_alone(kind):
    outputs = oracle.call(RotaryEmbedding(kind, grid_size=GRID), HEADS)
    np.testing.assert_array_equal(outputs[:, :2], HEADS[:, :2])
    assert not np.allclose(outputs[:, 3:], HEADS[:, 3:], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(outputs, axis=-1), np.linalg.norm(HEADS, axis=-1), rtol=1e-5)


def test_a_score_depends_on_the_distance_only():
    same = np.repeat(HEADS[:, :1], 12, axis=1)
    rotated = oracle.call(RotaryEmbedding("axial", grid_size=(3, 4), temperature=10.0), same)
    scores = np.einsum("bqhd,bkhd->bhqk", rotated, rotated)
    np.testing.assert_allclose(scores[..., 0, 5], scores[..., 6, 11], rtol=1e-4, atol=1e-5)  # one down, one right
    assert not np.allclose(scores[..., 0, 5], scores[..., 0, 6], atol=1e-3)


def test_angles_are_exact_in_half_precision():
    rotary = RotaryEmbedding("axial", grid_size=(32, 32), temperature=1e4, dtype="bfloat16")
    ones = np.ones((1, 1024, 1, 8), "float32")
    expected = oracle.rotate(ones, {}, kind="axial", grid_size=(32, 32), temperature=1e4, order="yx")
    oracle.assert_close(oracle.call(rotary, ones).astype("float32"), expected, 2**-8)
