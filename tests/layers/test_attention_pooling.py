import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import AttentionPooling


@pytest.mark.parametrize("arguments", [{}, {"activation": "gelu_tanh", "norm_epsilon": 1e-5, "num_skipped_tokens": 2}])
def test_contract(arguments, tmp_path):
    check_layer(AttentionPooling(2, 16, **arguments), (2, 5, 8), tmp_path)


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("arguments", [{"activation": "gelu"}, {"activation": "gelu_tanh", "norm_epsilon": 1e-2}])
def test_equals_the_oracle(num_heads, arguments):
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    pooling = AttentionPooling(num_heads, 16, **arguments)
    pooling.build(tokens.shape)
    weights = oracle.weights_of(oracle.randomise(pooling))
    expected = oracle.attention_pooling(tokens, weights, num_heads=num_heads, **arguments)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(pooling(tokens)), expected, rtol=1e-5, atol=1e-5)


def test_skipped_tokens_change_nothing():
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    pooling = AttentionPooling(2, 16, num_skipped_tokens=2)
    pooling.build(tokens.shape)
    expected = oracle.attention_pooling(tokens[:, 2:], oracle.weights_of(oracle.randomise(pooling)), num_heads=2)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(pooling(tokens)), expected, rtol=1e-5, atol=1e-5)


def test_order_of_the_tokens_does_not_matter():
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    pooling = AttentionPooling(2, 16)
    forward, backward = (keras.ops.convert_to_numpy(pooling(each)) for each in (tokens, tokens[:, ::-1].copy()))
    np.testing.assert_allclose(forward, backward, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 0}, r"AttentionPooling needs positive whole numbers, not num_heads=0\."),
        ({"mlp_dim": 0}, r"needs positive whole numbers, not mlp_dim=0\."),
        ({"num_skipped_tokens": -1}, r"needs num_skipped_tokens as a whole number from 0, not -1\."),
        (
            {"activation": "relu"},
            r"does not know activation='relu'; choose one of \['gelu', 'gelu_tanh', 'quick_gelu', 'silu'\]\.",
        ),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionPooling(**{"num_heads": 2, "mlp_dim": 16, **arguments})


def test_refuses_heads_that_do_not_divide_the_width():
    with pytest.raises(
        ValueError, match=r"AttentionPooling has num_heads=3, which does not divide the tokens' width of 8\."
    ):
        AttentionPooling(3, 16)(keras.Input((5, 8)))


def test_refuses_what_are_no_tokens_of_known_number():
    with pytest.raises(ValueError, match=r"AttentionPooling takes tokens of shape .*; it got \(None, None, 8\)\."):
        AttentionPooling(2, 16)(keras.Input((None, 8)))
