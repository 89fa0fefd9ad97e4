import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import TokenPooling

WAYS = [("token", True), ("mean", True), ("mean", False), ("token_and_mean", True)]


@pytest.mark.parametrize(("pooling", "class_token"), WAYS)
def test_contract(pooling, class_token, tmp_path):
    check_layer(TokenPooling(pooling, class_token=class_token), (2, 5, 8), tmp_path)


@pytest.mark.parametrize(("pooling", "class_token"), WAYS)
def test_equals_the_oracle(pooling, class_token):
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    expected = oracle.token_pooling(tokens, pooling, class_token=class_token)
    outputs = TokenPooling(pooling, class_token=class_token)(tokens)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(outputs), expected, rtol=1e-5, atol=1e-5)


def test_the_mean_leaves_the_class_token_out():
    tokens = np.array([[[9.0], [1.0], [2.0]]], "float32")
    assert keras.ops.convert_to_numpy(TokenPooling("mean")(tokens)).tolist() == [[1.5]]
    assert keras.ops.convert_to_numpy(TokenPooling("mean", class_token=False)(tokens)).tolist() == [[4.0]]


def test_refuses_an_unknown_pooling():
    message = r"TokenPooling with class_token=True does not know pooling='max'; choose one of \['token', 'mean', 'token_and_mean'\]\."
    with pytest.raises(ValueError, match=message):
        TokenPooling("max")


@pytest.mark.parametrize("pooling", ["token", "token_and_mean"])
def test_refuses_to_take_a_token_that_is_not_there(pooling):
    message = rf"TokenPooling with class_token=False does not know pooling='{pooling}'; choose one of \['mean'\]\."
    with pytest.raises(ValueError, match=message):
        TokenPooling(pooling, class_token=False)


def test_refuses_what_are_no_tokens():
    with pytest.raises(ValueError, match=r"TokenPooling takes tokens of shape .*; it got \(None, 8\)\."):
        TokenPooling()(keras.Input((8,)))
