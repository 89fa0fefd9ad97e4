import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import RotaryEmbedding

GRID = (2, 3)
VARIANTS = [
    {"kind": "axial"},
    {"kind": "axial", "temperature": 1e4, "reference": (16, 16)},
    {"kind": "axial", "order": "xy"},
    {"kind": "mixed", "temperature": 10.0, "order": "xy"},
    {"kind": "centered"},
]


def heads(tokens=8):
    return np.random.default_rng(0).normal(size=(2, tokens, 3, 8)).astype("float32")


@pytest.mark.parametrize("arguments", VARIANTS)
def test_contract(arguments, tmp_path):
    check_layer(RotaryEmbedding(grid_size=GRID, **arguments), (2, 8, 3, 8), tmp_path)


@pytest.mark.parametrize("arguments", VARIANTS)
def test_equals_the_oracle(arguments):
    rotary = RotaryEmbedding(grid_size=GRID, **arguments)
    rotary.build((None, 8, 3, 8))
    settings = {"grid_size": GRID, "temperature": 100.0, "order": "yx", **arguments}
    expected = oracle.rotate(heads().astype("float64"), oracle.weights_of(oracle.randomise(rotary)), **settings)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(rotary(heads())), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["axial", "mixed", "centered"])
def test_turning_keeps_lengths_and_leaves_the_tokens_in_front_alone(kind):
    outputs = keras.ops.convert_to_numpy(RotaryEmbedding(kind, grid_size=GRID)(heads()))
    np.testing.assert_array_equal(outputs[:, :2], heads()[:, :2])
    assert not np.allclose(outputs[:, 3:], heads()[:, 3:], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(outputs, axis=-1), np.linalg.norm(heads(), axis=-1), rtol=1e-5)


def test_a_score_depends_on_the_distance_alone():
    same = np.repeat(heads()[:, :1], 12, axis=1)
    turned = keras.ops.convert_to_numpy(RotaryEmbedding("axial", grid_size=(3, 4), temperature=10.0)(same))
    scores = np.einsum("bqhd,bkhd->bhqk", turned, turned)
    np.testing.assert_allclose(scores[..., 0, 5], scores[..., 6, 11], rtol=1e-4, atol=1e-5)  # one down, one right
    assert not np.allclose(scores[..., 0, 5], scores[..., 0, 6], atol=1e-3)


def test_angles_are_exact_in_half_precision():
    rotary = RotaryEmbedding("axial", grid_size=(32, 32), temperature=1e4, dtype="bfloat16")
    ones = np.ones((1, 1024, 1, 8), "float32")
    expected = oracle.rotate(ones, {}, kind="axial", grid_size=(32, 32), temperature=1e4, order="yx")
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(rotary(ones), "float32"))
    np.testing.assert_allclose(outputs, expected, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"kind": "round"},
            r"RotaryEmbedding does not know kind='round'; choose one of \['axial', 'mixed', 'centered'\]",
        ),
        ({"order": "zx"}, r"RotaryEmbedding does not know order='zx'; choose one of \['yx', 'xy'\]"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RotaryEmbedding(**{"kind": "axial", "grid_size": GRID, **arguments})


@pytest.mark.parametrize("shape", [(5, 3, 8), (8, 3, 6)])
def test_refuses_too_few_tokens_and_heads_of_odd_pairs(shape):
    with pytest.raises(ValueError, match=r"RotaryEmbedding got . tokens and a head_dim of .: it needs the 6 patches"):
        RotaryEmbedding("axial", grid_size=GRID)(keras.Input(shape))


def test_refuses_what_are_no_heads():
    with pytest.raises(ValueError, match=r"RotaryEmbedding takes heads of shape .*; it got \(None, 8, 6\)\."):
        RotaryEmbedding("axial", grid_size=GRID)(keras.Input((8, 6)))
