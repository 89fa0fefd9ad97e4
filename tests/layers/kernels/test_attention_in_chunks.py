"""Attention in chunks equals the formula, differentiated by TensorFlow in float64, and keeps no matrix of tokens times tokens."""

import keras
import numpy as np
import pytest
from layers.kernels.test_attention_gradient import attend, values_and_gradients

from vit_keras.layers import SelfAttention
from vit_keras.layers.kernels import attention_in_chunks

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only used on TensorFlow")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 4e-2)])
@pytest.mark.parametrize("tokens", [8, 10])  # chunks of 4: the last one is full, or half empty
def test_outputs_and_both_derivatives_equal_the_formula_in_float64(monkeypatch, tokens, dtype, tolerance):
    monkeypatch.setattr(attention_in_chunks, "CHUNK", 4)
    qkv = np.random.default_rng(0).normal(size=(2, tokens, 3, 2, 8))
    found, expected = (
        values_and_gradients(attention_in_chunks.attend_in_chunks, qkv, dtype),
        values_and_gradients(attend, qkv, "float64"),
    )
    for ours, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, right, rtol=0, atol=tolerance * np.abs(right).max())


@pytest.mark.parametrize(
    ("tokens", "has_square"), [(attention_in_chunks.MANY, True), (attention_in_chunks.MANY + 1, False)]
)
def test_training_with_many_tokens_has_no_matrix_of_tokens_times_tokens(tokens, has_square):
    import tensorflow as tf

    layer = SelfAttention(2)
    layer.build((None, tokens, 8))

    @tf.function(input_signature=[tf.TensorSpec((None, tokens, 8))])
    def step(inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(inputs, training=True))
        return tape.gradient(total, layer.qkv.kernel.value)

    graph = step.get_concrete_function().graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    shapes = {
        tuple(side.size for side in shape.dim)[-2:]
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
    }
    assert ((tokens, tokens) in shapes) == has_square
