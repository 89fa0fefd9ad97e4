import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import SelfAttention


def built(layer, shape):
    layer.build(shape)
    return oracle.randomise(layer)


ROTARY = {"kind": "axial", "grid_size": [2, 2], "temperature": 10.0, "order": "yx", "reference": None}
VARIANTS = [
    {"qkv_bias": "query_value"},
    {"qkv_bias": "none", "qk_norm": True, "norm_epsilon": 1e-3},
    {"rotary": ROTARY},
    {"rotary": {**ROTARY, "kind": "mixed"}, "qk_norm": True},
]


@pytest.mark.parametrize("arguments", [{}, {"dropout_rate": 0.1}, *VARIANTS])
def test_contract(arguments, tmp_path):
    check_layer(SelfAttention(2, **arguments), (2, 5, 8), tmp_path)


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_oracle(num_heads, training):
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    attention = built(SelfAttention(num_heads), tokens.shape)
    expected = oracle.self_attention(tokens, oracle.weights_of(attention), num_heads)
    outputs = keras.ops.convert_to_numpy(attention(tokens, training=training))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arguments", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_variants_equal_the_oracle(arguments, training):
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    attention = built(SelfAttention(2, **arguments), tokens.shape)
    settings = {name: value for name, value in arguments.items() if name in ("norm_epsilon", "rotary")}
    expected = oracle.self_attention(tokens, oracle.weights_of(attention), 2, **settings)
    outputs = keras.ops.convert_to_numpy(attention(tokens, training=training))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


def test_large_scores_do_not_overflow():
    tokens = 100 * np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    attention = built(SelfAttention(2), tokens.shape)
    expected = oracle.self_attention(tokens, oracle.weights_of(attention), 2)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(attention(tokens)), expected, rtol=1e-4, atol=1e-3)


def test_order_of_the_tokens_does_not_matter():
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    attention = built(SelfAttention(2), tokens.shape)
    forward, backward = (keras.ops.convert_to_numpy(attention(each)) for each in (tokens, tokens[:, ::-1].copy()))
    np.testing.assert_allclose(forward[:, ::-1], backward, rtol=1e-5, atol=1e-5)


def test_dropout_acts_in_training_only_and_keeps_the_mean():
    tokens = np.repeat(np.random.default_rng(0).normal(size=(1, 5, 8)), 4096, axis=0).astype("float32")
    attention = built(SelfAttention(2, dropout_rate=0.5), tokens.shape)
    expected = oracle.self_attention(tokens[:1], oracle.weights_of(attention), 2)
    plain, dropped = (keras.ops.convert_to_numpy(attention(tokens, training=training)) for training in (False, True))
    np.testing.assert_allclose(plain, np.repeat(expected, 4096, axis=0), rtol=1e-5, atol=1e-5)
    assert not np.allclose(dropped, plain, atol=1e-3)
    standard_error = dropped.std(axis=0) / 4096**0.5
    assert (np.abs(dropped.mean(axis=0) - expected[0]) < 5 * standard_error).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 2, "qkv_bias": "key"}, r"SelfAttention does not know qkv_bias='key'; choose one of \['all', "),
        ({"num_heads": 0}, r"SelfAttention needs positive whole numbers, not num_heads=0\."),
        (
            {"num_heads": 2, "dropout_rate": -0.1},
            r"SelfAttention needs fractions in \[0, 1\), not dropout_rate=-0\.1\.",
        ),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelfAttention(**arguments)


def test_refuses_heads_that_do_not_divide_the_width():
    with pytest.raises(
        ValueError, match=r"SelfAttention has num_heads=3, which does not divide the tokens' width of 8\."
    ):
        SelfAttention(3)(keras.Input((5, 8)))


@pytest.mark.parametrize("shape", [(8,), (None, 8), (5, None)])
def test_refuses_what_are_no_tokens_of_known_number_and_width(shape):
    with pytest.raises(ValueError, match=r"SelfAttention takes tokens of shape \(batch, tokens, hidden_dim\)"):
        SelfAttention(2)(keras.Input(shape))
