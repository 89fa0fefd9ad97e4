import oracle
import pytest

from vit_keras.layers import AttentionPooling


@pytest.mark.parametrize(
    ("num_heads", "skipped", "arguments"), [(1, 0, {}), (2, 2, {"activation": "gelu_tanh", "norm_epsilon": 1e-2})]
)
def test_equals_the_oracle(num_heads, skipped, arguments):
    pooling = oracle.build(AttentionPooling(num_heads, 16, num_skipped_tokens=skipped, **arguments), (2, 5, 8))
    expected = oracle.attention_pooling(
        oracle.tokens()[:, skipped:], oracle.weights_of(pooling), num_heads=num_heads, **arguments
    )
    oracle.assert_close(oracle.call(pooling, oracle.tokens()), expected)
