import keras
import numpy as np
import pytest
from contracts import check_layer
from keras import ops

from vit_keras import ViTConfig, vit
from vit_keras.layers import LayerNorm
from vit_keras.layers.kernels.fused import fused, fuses
from vit_keras.layers.mlp import ACTIVATIONS

TENSORFLOW = keras.backend.backend() == "tensorflow"
on_tensorflow = pytest.mark.skipif(not TENSORFLOW, reason="elsewhere the function itself is returned")


def values_and_gradients(function, *arrays, dtype="float32"):
    """What a function gives, its gradients, and the gradients of the first gradient's square."""
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
def test_an_activation_fused_is_the_same_with_its_gradients(name):
    rows = np.random.default_rng(0).normal(size=(64, 32)).astype("float32") * 3
    for ours, plain in zip(
        values_and_gradients(fused(ACTIVATIONS[name]), rows), values_and_gradients(ACTIVATIONS[name], rows), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=2e-5, atol=5e-6)  # 1 - tanh**2 is what is left of a difference


@on_tensorflow
def test_it_computes_in_float32_what_it_is_given_in_half():
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


def test_elsewhere_than_on_tensorflow_and_where_there_is_no_xla_the_function_stays(monkeypatch):
    def double(values):
        return values * 2

    assert fuses() == TENSORFLOW
    monkeypatch.setattr("vit_keras.layers.kernels.fused.fuses", lambda: False)
    assert fused(double) is double


@pytest.mark.parametrize("epsilon", [1e-6, 1e-2])
def test_the_norm_keeps_its_contract(epsilon, tmp_path):
    check_layer(LayerNorm(epsilon=epsilon), (4, 5, 8), tmp_path)


@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
def test_the_norm_is_keras_s_in_training_and_in_inference(epsilon):
    rng = np.random.default_rng(0)
    tokens, gamma, beta = 3 * rng.normal(size=(4, 5, 16)) + 2, rng.normal(size=16), rng.normal(size=16)
    norms = [LayerNorm(epsilon=epsilon), keras.layers.LayerNormalization(epsilon=epsilon)]
    for norm in norms:
        norm.build((None, 5, 16))
        norm.gamma.assign(gamma)
        norm.beta.assign(beta)
    expected = ops.convert_to_numpy(norms[1](tokens.astype("float32")))
    for training in (True, False):
        found = ops.convert_to_numpy(norms[0](tokens.astype("float32"), training=training))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@on_tensorflow
def test_the_norm_s_gradients_are_keras_s():
    import tensorflow as tf

    rng = np.random.default_rng(0)
    tokens = 3 * rng.normal(size=(4, 5, 16)).astype("float32") + 2
    norms = [LayerNorm(epsilon=1e-6), keras.layers.LayerNormalization(epsilon=1e-6)]
    found = []
    for norm in norms:
        norm.build((None, 5, 16))
        norm.gamma.assign(np.linspace(0.5, 2, 16))
        with tf.GradientTape() as tape:
            given = tf.Variable(tokens)
            total = tf.reduce_sum(tf.sin(norm(given, training=True)))
        found.append(tape.gradient(total, [given, norm.gamma.value, norm.beta.value]))
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


@on_tensorflow
def test_a_training_step_fuses_norms_and_activations_and_an_exported_model_has_none():
    """A program that only some runtimes can compile must not be in what is exported."""
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
