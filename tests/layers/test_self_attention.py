import numpy as np
import oracle
import pytest

from vit_keras.layers import SelfAttention

ROTARY = {"kind": "axial", "grid_size": [2, 2], "temperature": 10.0, "order": "yx", "reference": None}
VARIANTS = [
    {},
    {"num_heads": 1},
    {"qkv_bias": "query_value"},
    {"qkv_bias": "none", "qk_norm": True, "norm_epsilon": 1e-3},
    {"inner_norm": True, "norm_epsilon": 1e-3},
    {"rotary": ROTARY},
    {"rotary": {**ROTARY, "kind": "mixed"}, "qk_norm": True},
]


@pytest.mark.parametrize("arguments", VARIANTS)
def test_equals_the_oracle(arguments):
    arguments = {"num_heads": 2, **arguments}
    attention = oracle.build(SelfAttention(**arguments), (2, 5, 8))
    known = {name: value for name, value in arguments.items() if name in ("num_heads", "norm_epsilon", "rotary")}
    expected = oracle.self_attention(oracle.tokens(), oracle.weights_of(attention), **known)
    for training in (False, True):  # which has kernels of its own
        oracle.assert_close(oracle.call(attention, oracle.tokens(), training=training), expected)


def test_large_scores_do_not_overflow():
    attention = oracle.build(SelfAttention(2), (2, 5, 8))
    # Scores of some hundreds: exp overflows above 88, and float32 still has five digits of them.
    expected = oracle.self_attention(5 * oracle.tokens(), oracle.weights_of(attention), 2)
    np.testing.assert_allclose(oracle.call(attention, 5 * oracle.tokens()), expected, rtol=1e-4, atol=1e-4)


def test_dropout_acts_in_training_only_and_keeps_the_mean():
    tokens = np.repeat(oracle.tokens(1, 5, 8), 4096, axis=0)
    attention = oracle.build(SelfAttention(2, dropout_rate=0.5), tokens.shape)
    expected = oracle.self_attention(tokens[:1], oracle.weights_of(attention), 2)
    plain, dropped = (oracle.call(attention, tokens, training=training) for training in (False, True))
    oracle.assert_close(plain, np.repeat(expected, 4096, axis=0))
    assert not np.allclose(dropped, plain, atol=1e-3)
    standard_error = dropped.std(axis=0) / 4096**0.5
    assert (np.abs(dropped.mean(axis=0) - expected[0]) < 5 * standard_error).all()
