import keras
import numpy as np
import oracle
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import RelativePositionBias, SelfAttention

numbers = keras.ops.convert_to_numpy
GRID = {"grid_size": (2, 3), "num_prefix_tokens": 1}


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(
    ("kind", "grid_size"), [("table", (2, 3)), ("table", (3, 1)), ("mlp", (3, 2)), ("mlp", (1, 4))]
)
def test_equals_numpy_pair_by_pair(kind, grid_size, prefix):
    arguments = {"num_heads": 3, "grid_size": grid_size, "num_prefix_tokens": prefix}
    layer = oracle.build(RelativePositionBias(kind, hidden_dim=5, **arguments), (None, None, 8))
    tokens = oracle.tokens(2, layer.num_tokens, 8)
    found = oracle.call(layer, tokens)
    oracle.assert_close(found, oracle.relative_position_bias(oracle.weights_of(layer), **arguments))
    assert layer(keras.Input(tokens.shape[1:])).shape == found.shape == (3, layer.num_tokens, layer.num_tokens)


def test_a_table_of_offsets_puts_each_number_where_the_papers_code_does():
    layer = oracle.build(RelativePositionBias("table", num_heads=1, **GRID), (None, 7, 8))
    layer.table.assign(np.arange(18.0)[:, None])  # 3 x 5 offsets, and three of the class token
    bias = oracle.call(layer, oracle.tokens(1, 7, 8))[0]
    assert (bias[0, 0], bias[0, 1], bias[1, 0]) == (17, 15, 16)
    assert bias[1, 1] == bias[6, 6] == 7  # the same patch: the middle of the offsets
    assert (bias[1, 6], bias[6, 1]) == (0, 14)  # one row and two columns away, at both ends


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", ["table", "mlp"])
def test_biases_stay_in_float32_under_half_precision(kind, policy):
    layer = oracle.build(RelativePositionBias(kind, num_heads=2, **GRID, dtype=policy), (None, 7, 8))
    plain = oracle.build(RelativePositionBias(kind, num_heads=2, **GRID), (None, 7, 8))
    plain.set_weights(layer.get_weights())
    bias = layer(oracle.tokens(1, 7, 8))
    assert keras.backend.standardize_dtype(bias.dtype) == layer(keras.Input((7, 8))).dtype == "float32"
    np.testing.assert_array_equal(numbers(bias), oracle.call(plain, oracle.tokens(1, 7, 8)))
    attention = SelfAttention(2, relative_position={"kind": kind, **GRID}, dtype=policy)
    assert np.isfinite(numbers(keras.ops.cast(attention(oracle.tokens(1, 7, 8)), "float32"))).all()


@pytest.mark.parametrize(
    ("changes", "tokens", "message"),
    [
        ({"kind": "tables"}, 7, "kind='tables'; choose one of table, mlp"),
        ({"num_heads": 0}, 7, "needs positive integers, not num_heads=0"),
        ({"num_prefix_tokens": 2}, 8, "num_prefix_tokens=2; choose one of 0, 1"),
        ({}, 8, "got 8 tokens, and grid_size=(2, 3) with num_prefix_tokens=1 makes 7"),
    ],
)
@pytest.mark.any_backend
def test_refuses_what_it_has_no_biases_for(changes, tokens, message):
    with pytest.raises(InvalidArgumentError) as caught:
        RelativePositionBias(**{"kind": "table", "num_heads": 2, **GRID, **changes})(keras.Input((tokens, 8)))
    assert message in str(caught.value)
