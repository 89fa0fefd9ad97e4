import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import MLP


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": "gelu"},
        {"activation": "gelu_tanh", "dropout_rate": 0.1},
        {"activation": "silu", "gated": True, "inner_norm": True, "norm_epsilon": 1e-5},
    ],
)
def test_contract(arguments, tmp_path):
    check_layer(MLP(16, **arguments), (2, 5, 8), tmp_path)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "quick_gelu", "silu"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("inner_norm", [False, True])
def test_equals_the_oracle(activation, gated, inner_norm):
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    mlp = MLP(16, activation=activation, gated=gated, inner_norm=inner_norm, norm_epsilon=1e-3)
    mlp.build(tokens.shape)
    expected = oracle.mlp(tokens, oracle.weights_of(oracle.randomise(mlp)), activation, gated=gated, norm_epsilon=1e-3)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mlp(tokens)), expected, rtol=1e-5, atol=1e-5)


def test_exact_gelu_is_not_its_approximation():
    tokens = np.full((1, 1, 1), 1.0, "float32")
    exact, approximate = MLP(1), MLP(1, activation="gelu_tanh")
    for mlp in (exact, approximate):
        mlp.build(tokens.shape)
        mlp.set_weights(
            [np.full(shape, value, "float32") for shape, value in [((1, 1), 1), (1, 0), ((1, 1), 1), (1, 0)]]
        )
    np.testing.assert_allclose(keras.ops.convert_to_numpy(exact(tokens)), 0.841345, atol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(approximate(tokens)), 0.841192, atol=1e-6)


def test_each_token_is_alone():
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    mlp = MLP(16)
    together = keras.ops.convert_to_numpy(mlp(tokens))
    changed = tokens.copy()
    changed[:, 0] += 1
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mlp(changed))[:, 1:], together[:, 1:], rtol=1e-6, atol=1e-6)


def test_dropout_acts_in_training_only():
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    mlp = MLP(16, dropout_rate=0.5)
    mlp.build(tokens.shape)
    expected = oracle.mlp(tokens, oracle.weights_of(mlp))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mlp(tokens)), expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(keras.ops.convert_to_numpy(mlp(tokens, training=True)), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mlp_dim": 0}, r"MLP needs positive whole numbers, not mlp_dim=0\."),
        (
            {"activation": "relu"},
            r"MLP does not know activation='relu'; choose one of \['gelu', 'gelu_tanh', 'quick_gelu', 'silu'\]\.",
        ),
        ({"dropout_rate": 1.5}, r"MLP needs fractions in \[0, 1\), not dropout_rate=1\.5\."),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**{"mlp_dim": 16, **arguments})


def test_refuses_what_are_no_tokens():
    with pytest.raises(ValueError, match=r"MLP takes tokens of shape .*; it got \(None, 8\)\."):
        MLP(16)(keras.Input((8,)))
