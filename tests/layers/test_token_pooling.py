import oracle
import pytest

from vit_keras.layers import TokenPooling

KINDS = [("token", 1), ("mean", 0), ("mean", 3), ("token_and_mean", 1), ("token_and_mean", 2), ("distillation", 2)]


@pytest.mark.parametrize(("pooling", "num_prefix_tokens"), KINDS)
def test_equals_the_oracle(pooling, num_prefix_tokens):
    expected = oracle.token_pooling(oracle.tokens(), pooling, num_prefix_tokens=num_prefix_tokens)
    oracle.assert_close(
        oracle.call(TokenPooling(pooling, num_prefix_tokens=num_prefix_tokens), oracle.tokens()), expected
    )
