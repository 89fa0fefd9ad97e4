import keras
import numpy as np
import oracle
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import DifferentialAttention, TransformerBlock

SHAPE = (2, 5, 16)


@pytest.mark.parametrize("arguments", [{}, {"qkv_bias": "query_value"}, {"qkv_bias": "none", "output_bias": False}])
def test_equals_the_oracle(arguments):
    attention = oracle.build(DifferentialAttention(2, lambda_init=0.3, **arguments), SHAPE)
    expected = oracle.self_attention(oracle.tokens(*SHAPE), oracle.weights_of(attention), 2, lambda_init=0.3)
    for training in (False, True):
        oracle.assert_close(oracle.call(attention, oracle.tokens(*SHAPE), training=training), expected)
    assert ("bias" in [weight.name for weight in attention.output_projection.weights]) == arguments.get(
        "output_bias", True
    )


def test_its_config_makes_the_same_layer_and_a_file_loads(tmp_path):
    attention = oracle.build(DifferentialAttention(2, lambda_init=0.3, dropout_rate=0.1), SHAPE)
    assert DifferentialAttention.from_config(attention.get_config()).get_config() == attention.get_config()
    block = TransformerBlock(2, 8, differential_lambda=0.4)
    images = keras.Input(SHAPE[1:])
    model = oracle.randomize(keras.Model(images, block(images)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(oracle.call(again, oracle.tokens(*SHAPE)), oracle.call(model, oracle.tokens(*SHAPE)))


def test_dropout_acts_in_training_only():
    attention = oracle.build(DifferentialAttention(2, lambda_init=0.3, dropout_rate=0.5), SHAPE)
    expected = oracle.self_attention(oracle.tokens(*SHAPE), oracle.weights_of(attention), 2, lambda_init=0.3)
    oracle.assert_close(oracle.call(attention, oracle.tokens(*SHAPE)), expected)
    assert not np.allclose(oracle.call(attention, oracle.tokens(*SHAPE), training=True), expected, atol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_gives_finite_numbers_of_its_dtype(policy):
    outputs = DifferentialAttention(2, lambda_init=0.3, dtype=policy)(oracle.tokens(*SHAPE))
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    assert np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))).all()


def test_refuses_heads_that_have_no_two_halves():
    with pytest.raises(InvalidArgumentError, match="num_heads=4, which does not divide the tokens' width of 6"):
        DifferentialAttention(2, lambda_init=0.3)(keras.Input((5, 6)))
    with pytest.raises(InvalidArgumentError, match=r"lambda_init=1\.5"):
        DifferentialAttention(2, lambda_init=1.5)
