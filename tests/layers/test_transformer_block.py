import keras
import numpy as np
import oracle
import pytest
from contracts import JIT, check_layer

from vit_keras.layers import TransformerBlock

SHAPE = (2, 5, 8)
EVERYTHING = {
    "activation": "gelu_tanh",
    "norm_epsilon": 1e-5,
    "layer_scale": 0.1,
    "dropout_rate": 0.1,
    "attention_dropout_rate": 0.1,
    "stochastic_depth_rate": 0.1,
}


def tokens():
    return np.random.default_rng(0).normal(size=SHAPE).astype("float32")


def built(**arguments):
    keras.utils.set_random_seed(0)  # the same stochastic depth for blocks to compare
    block = TransformerBlock(2, 16, **arguments)
    block.build(SHAPE)
    return oracle.randomise(block)


def trained(block):
    """The block's weights after two steps."""
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, block(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=JIT)
    for _ in range(2):
        model.train_on_batch(tokens(), np.ones(SHAPE, "float32"))
    return model.get_weights()


MODERN = {
    "qkv_bias": "query_value",
    "qk_norm": True,
    "rotary": {"kind": "centered", "grid_size": [2, 2], "temperature": 100.0, "order": "yx", "reference": None},
    "gated_mlp": True,
    "mlp_inner_norm": True,
    "activation": "silu",
}
PARALLEL = {"parallel": True, "layer_scale": 0.1, "qk_norm": True}


@pytest.mark.parametrize("arguments", [{}, EVERYTHING, MODERN, PARALLEL, {"remat": "block"}])
def test_contract(arguments, tmp_path):
    check_layer(TransformerBlock(2, 16, **arguments), SHAPE, tmp_path)


@pytest.mark.parametrize(
    "arguments", [{}, {"layer_scale": 1e-5}, {"activation": "gelu_tanh", "norm_epsilon": 1e-2}, MODERN, PARALLEL]
)
def test_equals_the_oracle(arguments):
    block = built(**arguments)
    known = ("activation", "norm_epsilon", "gated_mlp", "parallel", "rotary")
    named = {name: value for name, value in arguments.items() if name in known}
    expected = oracle.transformer_block(tokens(), oracle.weights_of(block), num_heads=2, **named)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(block(tokens())), expected, rtol=1e-5, atol=1e-5)


def test_dropout_and_stochastic_depth_act_in_training_only():
    block = built(**EVERYTHING)
    expected = oracle.transformer_block(
        tokens(), oracle.weights_of(block), num_heads=2, activation="gelu_tanh", norm_epsilon=1e-5
    )
    np.testing.assert_allclose(keras.ops.convert_to_numpy(block(tokens())), expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(keras.ops.convert_to_numpy(block(tokens(), training=True)), expected, atol=1e-3)


def test_an_image_that_skips_both_branches_comes_out_as_it_went_in():
    block = built(stochastic_depth_rate=0.7)
    outputs = np.stack([keras.ops.convert_to_numpy(block(tokens(), training=True)) for _ in range(40)])
    skipped = (outputs == tokens()).all(axis=(2, 3))
    assert 0.25 < skipped.mean() < 0.75  # both: 0.7 * 0.7


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("training", [False, True])
def test_remat_gives_the_same_output(rate, training):
    plain, remat = (built(stochastic_depth_rate=rate, remat=remat) for remat in ("none", "block"))
    outputs = [keras.ops.convert_to_numpy(block(tokens(), training=training)) for block in (plain, remat)]
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-6)


def test_remat_of_parallel_branches_gives_the_same_output():
    plain, remat = (built(parallel=True, remat=remat) for remat in ("none", "block"))
    outputs = [keras.ops.convert_to_numpy(block(tokens(), training=True)) for block in (plain, remat)]
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-6)


def test_remat_gives_the_same_trained_weights():
    plain, remat = (
        trained(built(stochastic_depth_rate=0.3, layer_scale=0.1, remat=remat)) for remat in ("none", "block")
    )
    for one, other in zip(plain, remat, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_remat_wraps_both_branches_in_training_only(monkeypatch):
    wrapped = []
    monkeypatch.setattr(keras, "remat", lambda function: wrapped.append(function) or function)
    built(remat="block")(tokens())
    assert wrapped == []
    built(remat="block")(tokens(), training=True)
    assert len(wrapped) == 2


def test_remat_survives_a_file(tmp_path):
    inputs = keras.Input(SHAPE[1:])
    keras.Model(inputs, built(remat="block")(inputs)).save(tmp_path / "block.keras")
    assert keras.saving.load_model(tmp_path / "block.keras").layers[-1].remat == "block"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 0}, r"TransformerBlock needs positive whole numbers, not num_heads=0\."),
        ({"mlp_dim": 0}, r"TransformerBlock needs positive whole numbers, not mlp_dim=0\."),
        ({"activation": "relu"}, r"does not know activation='relu'; choose one of \['gelu', 'gelu_tanh', 'quick_gelu', 'silu'\]\."),
        ({"dropout_rate": 1.0}, r"needs fractions in \[0, 1\), not dropout_rate=1\.0\."),
        ({"attention_dropout_rate": 1.0}, r"needs fractions in \[0, 1\), not dropout_rate=1\.0\."),
        ({"stochastic_depth_rate": 1.0}, r"needs fractions in \[0, 1\), not rate=1\.0\."),
        ({"remat": "full"}, r"TransformerBlock does not know remat='full'; choose one of \['none', 'block'\]\."),
        ({"remat": "block", "dropout_rate": 0.1}, r'TransformerBlock with remat="block" does not know dropout_rate=0\.1; choose one of \[0\]\.'),
        ({"remat": "block", "attention_dropout_rate": 0.1}, r'with remat="block" does not know attention_dropout_rate=0\.1;'),
    ],
)  # fmt: skip
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TransformerBlock(**{"num_heads": 2, "mlp_dim": 16, **arguments})


def test_refuses_heads_that_do_not_divide_the_width():
    with pytest.raises(
        ValueError, match=r"TransformerBlock has num_heads=3, which does not divide the tokens' width of 8\."
    ):
        TransformerBlock(3, 16)(keras.Input((5, 8)))


def test_refuses_what_are_no_tokens():
    with pytest.raises(ValueError, match=r"TransformerBlock takes tokens of shape .*; it got \(None, 8\)\."):
        TransformerBlock(2, 16)(keras.Input((8,)))
