import keras
import numpy as np
import oracle
import pytest

from vit_keras.layers import LayerNorm, RMSNorm


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


@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
def test_rms_norm_equals_numpy_and_keras_in_training_and_in_inference(epsilon):
    ours, keras_norm = RMSNorm(epsilon=epsilon), keras.layers.RMSNormalization(epsilon=epsilon)
    inputs = 3 * oracle.tokens() + 2
    for norm in (ours, keras_norm):
        oracle.build(norm, inputs.shape)
    expected = oracle.layer_norm(inputs.astype("float64"), {"gamma": oracle.weights_of(ours)["gamma"]}, epsilon)
    for training in (True, False):
        oracle.assert_close(oracle.call(ours, inputs, training=training), expected, 2e-5)
    oracle.assert_close(oracle.call(keras_norm, inputs), expected, 2e-5)


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_a_norm_of_half_precision_is_computed_in_float32(kind):
    inputs = (1000 * oracle.tokens()).astype("float16")  # whose squares are infinite in float16
    norm = oracle.build(kind(dtype="mixed_float16"), inputs.shape)
    expected = oracle.layer_norm(inputs.astype("float64"), oracle.weights_of(norm))
    for training in (True, False):
        assert oracle.call(norm, inputs, training=training).dtype == "float16"
        oracle.assert_close(oracle.call(norm, inputs, training=training).astype("float32"), expected, 2e-3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has gradients of its own")
def test_gradients_of_the_fused_rms_norm_equal_those_of_the_plain_one():
    import tensorflow as tf

    norm, gradients = oracle.build(RMSNorm(), (None, 5, 8)), []
    for training in (True, False):
        with tf.GradientTape() as tape:
            inputs = tf.Variable(3 * oracle.tokens() + 2)
            total = tf.reduce_sum(tf.sin(norm(inputs, training=training)))
        gradients.append(tape.gradient(total, [inputs, norm.gamma.value]))
    for ours, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
