"""Attention with its own gradient equals the formula, differentiated by TensorFlow in float64."""

import keras
import numpy as np
import pytest

from vit_keras import ViTConfig, vit
from vit_keras.layers.kernels.attention_gradient import attend_with_own_gradient

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only used on TensorFlow")


def attend(qkv):
    import tensorflow as tf

    queries, keys, values = tf.unstack(qkv, axis=2)
    weights = tf.nn.softmax(tf.einsum("bqhd,bkhd->bhqk", queries, keys) / np.sqrt(qkv.shape[-1]))
    return tf.einsum("bhqk,bkhd->bqhd", weights, values)


def values_and_gradients(function, array, dtype):
    """Outputs, the gradient of a sum of them, and the gradient of that gradient's square."""
    import tensorflow as tf

    qkv = tf.cast(array, dtype)
    with tf.GradientTape() as outer:
        outer.watch(qkv)
        with tf.GradientTape() as inner:
            inner.watch(qkv)
            found = function(qkv)
            total = tf.reduce_sum(tf.sin(tf.cast(found, "float64")))
        gradient = inner.gradient(total, qkv)
        square = tf.reduce_sum(tf.square(tf.cast(gradient, "float64")))
    return [np.array(tf.cast(each, "float64")) for each in (found, gradient, outer.gradient(square, qkv))]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 4e-2)])
def test_outputs_and_both_derivatives_equal_the_formula_in_float64(dtype, tolerance):
    qkv = np.random.default_rng(0).normal(size=(2, 5, 3, 2, 8))
    found, expected = (
        values_and_gradients(attend_with_own_gradient, qkv, dtype),
        values_and_gradients(attend, qkv, "float64"),
    )
    for ours, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, right, rtol=0, atol=tolerance * np.abs(right).max())


@pytest.mark.parametrize(("remat", "loops"), [("none", 2), ("block", 0)])
def test_a_block_that_is_recomputed_has_no_further_loop_of_xla(remat, loops):
    import tensorflow as tf

    config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32, remat=remat)
    model = vit(config, num_classes=3)
    images = np.zeros((2, 16, 16, 3), "float32")

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(images, training=True))
        return tape.gradient(total, [weight.value for weight in model.trainable_variables])

    operations = step.get_concrete_function(images).graph.get_operations()
    called = [each.get_attr("f").name for each in operations if each.type.endswith("PartitionedCall")]
    norms_and_activations = 2 * 3 + 1 + (2 * 3 if remat == "block" else 0)  # again in the recomputation
    assert sum("precise" in name for name in called) == norms_and_activations + loops
