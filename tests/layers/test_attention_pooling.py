import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import AttentionPooling


@pytest.mark.parametrize("arguments", [{}, {"activation": "gelu_tanh", "norm_epsilon": 1e-5, "num_skipped_tokens": 2}])
def test_contract(arguments, tmp_path):
    check_layer(AttentionPooling(2, 16, **arguments), (2, 5, 8), tmp_path)


@pytest.mark.parametrize(
    ("num_heads", "skipped", "arguments"),
    [(1, 0, {}), (2, 0, {"activation": "gelu_tanh", "norm_epsilon": 1e-2}), (2, 2, {})],
)
def test_equals_the_oracle(num_heads, skipped, arguments):
    pooling = oracle.build(AttentionPooling(num_heads, 16, num_skipped_tokens=skipped, **arguments), (2, 5, 8))
    expected = oracle.attention_pooling(
        oracle.tokens()[:, skipped:], oracle.weights_of(pooling), num_heads=num_heads, **arguments
    )
    oracle.assert_close(oracle.call(pooling, oracle.tokens()), expected)


def test_order_of_the_tokens_does_not_matter():
    pooling = AttentionPooling(2, 16)
    forward, backward = (oracle.call(pooling, np.flip(oracle.tokens(), axis).copy()) for axis in ((), 1))
    oracle.assert_close(forward, backward)
