import keras
import numpy as np
import oracle
import pytest

from vit_keras.layers import LayerNorm


def pair(epsilon):
    """Our norm and Keras', with the same random weights."""
    return [oracle.build(kind(epsilon=epsilon), (None, 5, 8)) for kind in (LayerNorm, keras.layers.LayerNormalization)]


@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
def test_equals_keras_in_training_and_in_inference(epsilon):
    ours, keras_norm = pair(epsilon)
    inputs = 3 * oracle.tokens() + 2
    for training in (True, False):
        oracle.assert_close(oracle.call(ours, inputs, training=training), oracle.call(keras_norm, inputs), 2e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has gradients of its own")
def test_gradients_equal_keras():
    import tensorflow as tf

    gradients = []
    for norm in pair(1e-6):
        with tf.GradientTape() as tape:
            inputs = tf.Variable(3 * oracle.tokens() + 2)
            total = tf.reduce_sum(tf.sin(norm(inputs, training=True)))
        gradients.append(tape.gradient(total, [inputs, norm.gamma.value, norm.beta.value]))
    for ours, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
