import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import TokenPooling

KINDS = [("token", 1), ("mean", 0), ("mean", 3), ("token_and_mean", 1), ("token_and_mean", 2), ("distillation", 2)]


@pytest.mark.parametrize(("pooling", "num_prefix_tokens"), KINDS[2:])
def test_contract(pooling, num_prefix_tokens, tmp_path):
    check_layer(TokenPooling(pooling, num_prefix_tokens=num_prefix_tokens), (2, 5, 8), tmp_path)


@pytest.mark.parametrize(("pooling", "num_prefix_tokens"), KINDS)
def test_equals_the_oracle(pooling, num_prefix_tokens):
    expected = oracle.token_pooling(oracle.tokens(), pooling, num_prefix_tokens=num_prefix_tokens)
    oracle.assert_close(
        oracle.call(TokenPooling(pooling, num_prefix_tokens=num_prefix_tokens), oracle.tokens()), expected
    )
