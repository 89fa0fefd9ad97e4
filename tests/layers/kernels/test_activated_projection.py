"""An activation and a projection that keep little have the outputs and gradients of Keras' own layer, and keep no hidden activations."""

import keras
import numpy as np
import pytest

from vit_keras.layers import MLP

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only used on TensorFlow")


def make_layer():
    layer = keras.layers.Dense(5, bias_initializer="normal")
    layer.build((None, 7))
    return layer


def differentiate(function, layer, *arrays):
    """The outputs, all gradients, and the gradient of the first gradient's square."""
    import tensorflow as tf

    parts = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as outer:
        outer.watch(parts)
        with tf.GradientTape() as inner:
            inner.watch(parts)
            outputs = function(*parts)
            total = tf.reduce_sum(tf.sin(outputs))
        gradients = inner.gradient(total, [*parts, layer.kernel.value, layer.bias.value])
        square = tf.reduce_sum(tf.square(gradients[0]))
    return [outputs, *gradients, outer.gradient(square, parts[0])]


@pytest.mark.parametrize("count", [1, 2])
def test_outputs_and_both_derivatives_equal_those_of_keras(count):
    from vit_keras.layers.kernels.activated_projection import project_activated

    def activate(gates, *values):
        return keras.activations.silu(gates) * (values[0] if values else 1)

    layer = make_layer()
    arrays = np.random.default_rng(0).normal(size=(count, 11, 7)).astype("float32")
    found = differentiate(lambda *parts: project_activated(layer, activate, *parts), layer, *arrays)
    expected = differentiate(lambda *parts: layer(activate(*parts)), layer, *arrays)
    for ours, keras_own in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=1e-5)


def test_hidden_activations_are_used_by_one_product_alone():
    import tensorflow as tf

    layer = MLP(16)
    layer.build((None, 5, 8))

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 8))])
    def step(tokens):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(tokens, training=True))
        return tape.gradient(total, [weight.value for weight in layer.trainable_weights])

    def find_source(tensor):
        while tensor.op.type.startswith("Identity"):
            tensor = tensor.op.inputs[tensor.value_index]
        return tensor.op

    products = [each for each in step.get_concrete_function().graph.get_operations() if each.type == "MatMul"]
    sources = [find_source(side) for product in products for side in product.inputs]
    called = [each.get_attr("f").name for each in sources if each.type.endswith("PartitionedCall")]
    assert sum("precise" in name for name in called) == 1  # the second projection, not its gradient
    assert any("backward" in name for name in called)
