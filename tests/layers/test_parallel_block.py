import oracle
import pytest

from vit_keras.layers import ParallelBlock

ARGUMENTS = {"layer_scale": 0.1, "qk_norm": True, "stochastic_depth_rate": 0.1}


@pytest.mark.parametrize("arguments", [{}, ARGUMENTS])
def test_equals_the_oracle(arguments):
    block = oracle.build(ParallelBlock(2, 16, **arguments), (2, 5, 8))
    expected = oracle.transformer_block(oracle.tokens(), oracle.weights_of(block), num_heads=2, parallel=True)
    oracle.assert_close(oracle.call(block, oracle.tokens()), expected)
