import numpy as np
import oracle
import pytest

from vit_keras.layers import MLP
from vit_keras.layers.mlp import ACTIVATIONS


@pytest.mark.parametrize(
    ("activation", "gated", "inner_norm"),
    [*((activation, False, False) for activation in ACTIVATIONS), ("silu", True, False), ("gelu", True, True)],
)
def test_equals_the_oracle(activation, gated, inner_norm):
    mlp = MLP(16, activation=activation, gated=gated, inner_norm=inner_norm, norm_epsilon=1e-3)
    weights = oracle.weights_of(oracle.build(mlp, (2, 5, 8)))
    expected = oracle.mlp(oracle.tokens(), weights, activation, gated=gated, norm_epsilon=1e-3)
    for training in (False, True):  # which has kernels of its own
        oracle.assert_close(oracle.call(mlp, oracle.tokens(), training=training), expected)


@pytest.mark.parametrize(("activation", "of_one"), [("gelu", 0.841345), ("gelu_tanh", 0.841192)])
def test_exact_gelu_is_not_its_approximation(activation, of_one):
    mlp = MLP(1, activation=activation)
    mlp.build((1, 1, 1))
    mlp.set_weights([np.full(weight.shape, float("kernel" in weight.path), "float32") for weight in mlp.weights])
    np.testing.assert_allclose(oracle.call(mlp, np.ones((1, 1, 1), "float32")), of_one, atol=1e-6)


def test_dropout_acts_in_training_only():
    mlp = MLP(16, dropout_rate=0.5)
    mlp.build((2, 5, 8))
    expected = oracle.mlp(oracle.tokens(), oracle.weights_of(mlp))
    oracle.assert_close(oracle.call(mlp, oracle.tokens()), expected)
    assert not np.allclose(oracle.call(mlp, oracle.tokens(), training=True), expected, atol=1e-3)
