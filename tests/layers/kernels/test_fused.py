import keras
import numpy as np
import pytest

from vit_keras import ViTConfig, vit
from vit_keras.layers.kernels.fused import fused, fuses
from vit_keras.layers.mlp import ACTIVATIONS

TENSORFLOW = keras.backend.backend() == "tensorflow"
on_tensorflow = pytest.mark.skipif(not TENSORFLOW, reason="other backends get the function itself")


def values_and_gradients(function, *arrays, dtype="float32"):
    """Outputs, gradients, and the gradient of the first gradient's square."""
    import tensorflow as tf

    arguments = [tf.cast(tf.constant(array), dtype) for array in arrays]
    with tf.GradientTape() as outer:
        outer.watch(arguments)
        with tf.GradientTape() as inner:
            inner.watch(arguments)
            found = function(*arguments)
            total = tf.reduce_sum(tf.sin(tf.cast(found, "float32")))
        gradients = inner.gradient(total, arguments)
        square = tf.reduce_sum(tf.square(tf.cast(gradients[0], "float32")))
    second = outer.gradient(square, arguments[0])
    return [np.array(tf.cast(each, "float32")) for each in (found, *gradients, second)]


@on_tensorflow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_fused_activation_has_the_same_outputs_and_gradients(name):
    rows = np.random.default_rng(0).normal(size=(64, 32)).astype("float32") * 3
    for ours, plain in zip(
        values_and_gradients(fused(ACTIVATIONS[name]), rows), values_and_gradients(ACTIVATIONS[name], rows), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=2e-5, atol=5e-6)  # 1 - tanh**2 is what is left of a difference


@on_tensorflow
def test_half_precision_is_computed_in_float32():
    rows = np.random.default_rng(0).normal(size=(256, 32)).astype("float32")
    import tensorflow as tf

    half = tf.cast(rows, "bfloat16")
    exact = np.array(ACTIVATIONS["gelu"](tf.cast(half, "float32")))
    ours, plain = (
        np.abs(np.array(tf.cast(function(half), "float32")) - exact).max()
        for function in (fused(ACTIVATIONS["gelu"]), ACTIVATIONS["gelu"])
    )
    assert fused(ACTIVATIONS["gelu"])(half).dtype == tf.bfloat16
    assert ours < plain


def test_the_function_stays_on_other_backends_and_without_xla(monkeypatch):
    def double(values):
        return values * 2

    assert fuses() == TENSORFLOW
    monkeypatch.setattr("vit_keras.layers.kernels.fused.fuses", lambda: False)
    assert fused(double) is double


@on_tensorflow
def test_a_training_step_fuses_norms_and_activations_and_an_exported_model_has_none():
    """Exported models must hold no program that only some runtimes can compile."""
    config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
    model = vit(config, num_classes=3)
    images = np.zeros((2, 16, 16, 3), "float32")
    import tensorflow as tf

    def compiled_parts(training):
        graph = tf.function(lambda images: model(images, training=training)).get_concrete_function(images).graph
        called = [op.get_attr("f").name for op in graph.get_operations() if op.type.endswith("PartitionedCall")]
        return sum("precise" in name for name in called)

    assert compiled_parts(training=True) == 2 * 3 + 1
    assert compiled_parts(training=False) == 0
