import keras
import numpy as np
import oracle
import pytest
from contracts import JIT
from layers.test_contract import EVERYTHING, MODERN

from vit_keras.layers import ParallelBlock, TransformerBlock

SHAPE = (2, 5, 8)


def build(**arguments):
    keras.utils.set_random_seed(0)  # blocks that are compared need the same stochastic depth
    return oracle.build(TransformerBlock(2, 16, **arguments), SHAPE)


def train(block):
    """Returns the block's weights after two steps."""
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, block(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=JIT)
    for _ in range(2):
        model.train_on_batch(oracle.tokens(), np.ones(SHAPE, "float32"))
    return model.get_weights()


@pytest.mark.parametrize(
    "arguments", [{}, {"layer_scale": 0.1, "activation": "gelu_tanh", "norm_epsilon": 1e-2}, MODERN]
)
def test_equals_the_oracle(arguments):
    block = build(**arguments)
    known = ("activation", "norm_epsilon", "gated_mlp", "rotary")
    settings = {name: value for name, value in arguments.items() if name in known}
    expected = oracle.transformer_block(oracle.tokens(), oracle.weights_of(block), num_heads=2, **settings)
    oracle.assert_close(oracle.call(block, oracle.tokens()), expected)


def test_dropout_and_stochastic_depth_act_in_training_only():
    block = build(**EVERYTHING)
    expected = oracle.transformer_block(
        oracle.tokens(), oracle.weights_of(block), num_heads=2, activation="gelu_tanh", norm_epsilon=1e-5
    )
    oracle.assert_close(oracle.call(block, oracle.tokens()), expected)
    assert not np.allclose(oracle.call(block, oracle.tokens(), training=True), expected, atol=1e-3)


def test_an_image_that_skips_both_branches_leaves_as_it_came():
    block = build(stochastic_depth_rate=0.7)
    outputs = np.stack([oracle.call(block, oracle.tokens(), training=True) for _ in range(40)])
    skipped = (outputs == oracle.tokens()).all(axis=(2, 3))
    assert 0.25 < skipped.mean() < 0.75  # both: 0.7 * 0.7


@pytest.mark.parametrize("arguments", [{}, {"stochastic_depth_rate": 0.5, "layer_scale": 0.1}, {"parallel": True}])
def test_remat_changes_neither_outputs_nor_trained_weights(arguments):
    plain, remat = (build(**arguments, remat=remat) for remat in ("none", "block"))
    for training in (False, True):
        oracle.assert_close(*(oracle.call(block, oracle.tokens(), training=training) for block in (plain, remat)), 1e-6)
    plain, remat = (train(build(**arguments, remat=remat)) for remat in ("none", "block"))
    for one, other in zip(plain, remat, strict=True):
        oracle.assert_close(one, other)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has this graph optimizer")
def test_gradients_of_recomputed_branches_are_computed_without_the_graph_optimizer():
    import tensorflow as tf

    block = build(remat="block")
    block(oracle.tokens())
    assert not tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer")
    block(oracle.tokens(), training=True)
    assert tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]


def test_remat_wraps_both_branches_in_training_only(monkeypatch):
    wrapped = []
    monkeypatch.setattr(keras, "remat", lambda function: wrapped.append(function) or function)
    build(remat="block")(oracle.tokens())
    assert wrapped == []
    build(remat="block")(oracle.tokens(), training=True)
    assert len(wrapped) == 2


def test_parallel_makes_a_parallel_block_which_a_subclass_has_to_ask_for():
    class Mine(TransformerBlock):
        """A block of a user."""

    assert type(TransformerBlock(2, 16, parallel=True)) is ParallelBlock
    assert type(TransformerBlock(2, 16)) is TransformerBlock
    with pytest.raises(ValueError, match=r"Mine can't have parallel=True: derive it from ParallelBlock"):
        Mine(2, 16, parallel=True)
