import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import TokenPooling

WAYS = [
    ("token", 1),
    ("mean", 1),
    ("mean", 0),
    ("mean", 3),
    ("token_and_mean", 1),
    ("token_and_mean", 2),
    ("distillation", 2),
]


@pytest.mark.parametrize(("pooling", "num_prefix_tokens"), WAYS)
def test_contract(pooling, num_prefix_tokens, tmp_path):
    check_layer(TokenPooling(pooling, num_prefix_tokens=num_prefix_tokens), (2, 5, 8), tmp_path)


@pytest.mark.parametrize(("pooling", "num_prefix_tokens"), WAYS)
def test_equals_the_oracle(pooling, num_prefix_tokens):
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    expected = oracle.token_pooling(tokens, pooling, num_prefix_tokens=num_prefix_tokens)
    outputs = TokenPooling(pooling, num_prefix_tokens=num_prefix_tokens)(tokens)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(outputs), expected, rtol=1e-5, atol=1e-5)


def test_the_mean_leaves_the_class_token_out():
    tokens = np.array([[[9.0], [1.0], [2.0]]], "float32")
    assert keras.ops.convert_to_numpy(TokenPooling("mean")(tokens)).tolist() == [[1.5]]
    assert keras.ops.convert_to_numpy(TokenPooling("mean", num_prefix_tokens=0)(tokens)).tolist() == [[4.0]]
    assert keras.ops.convert_to_numpy(TokenPooling("mean", num_prefix_tokens=2)(tokens)).tolist() == [[2.0]]


def test_refuses_an_unknown_pooling():
    message = r"TokenPooling with num_prefix_tokens=1 does not know pooling='max'; choose one of \['mean', 'token', 'token_and_mean'\]\."
    with pytest.raises(ValueError, match=message):
        TokenPooling("max")


@pytest.mark.parametrize(("pooling", "num_prefix_tokens"), [("token", 0), ("token_and_mean", 0), ("distillation", 1)])
def test_refuses_to_take_a_token_that_is_not_there(pooling, num_prefix_tokens):
    message = (
        rf"TokenPooling with num_prefix_tokens={num_prefix_tokens} does not know pooling='{pooling}'; choose one of"
    )
    with pytest.raises(ValueError, match=message):
        TokenPooling(pooling, num_prefix_tokens=num_prefix_tokens)


def test_refuses_what_are_no_tokens():
    with pytest.raises(ValueError, match=r"TokenPooling takes tokens of shape .*; it got \(None, 8\)\."):
        TokenPooling()(keras.Input((8,)))
