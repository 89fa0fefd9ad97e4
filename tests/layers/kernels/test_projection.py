"""The product with a bias by other operations: the same numbers and gradients, and only where nothing is lost."""

import keras
import numpy as np
import pytest

from vit_keras import ViTConfig, vit
from vit_keras.layers.kernels import projection
from vit_keras.layers.kernels.local_graph import local_graph
from vit_keras.layers.kernels.projection import has_fast_form, project

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends call the layer")


@pytest.fixture
def fast(monkeypatch):
    """Uses the other operations on every processor and for every dtype."""
    monkeypatch.setattr(projection, "has_fast_form", lambda dtype: True)


def make_layer(**arguments):
    layer = keras.layers.Dense(5, bias_initializer="normal", **arguments)
    layer.build((None, 7))
    return layer


def operations(layer, *, training):
    import tensorflow as tf

    graph = (
        tf.function(lambda rows: project(layer, rows, training=training))
        .get_concrete_function(np.zeros((3, 7), "float32"))
        .graph
    )
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_outputs_and_gradients_equal_numpy(fast, dtype, tolerance):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    layer = make_layer()
    rows, weights = rng.normal(size=(11, 7)), rng.normal(size=(11, 5))
    given = tf.cast(rows, dtype)
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs = project(layer, given, training=True)
        total = tf.reduce_sum(tf.cast(outputs, "float32") * weights.astype("float32"))
    found = tape.gradient(total, [given, layer.kernel.value, layer.bias.value])
    kernel, bias = (np.asarray(weight, "float64") for weight in (layer.kernel, layer.bias))
    expected = [rows @ kernel + bias, weights @ kernel.T, rows.T @ weights, weights.sum(0)]
    for ours, right in zip([outputs, *found], expected, strict=True):
        np.testing.assert_allclose(
            np.array(tf.cast(ours, "float64")), right, rtol=0, atol=tolerance * np.abs(right).max()
        )


def test_it_is_used_in_training_and_in_predict_and_never_in_an_exported_graph(fast):
    layer = make_layer()
    assert "Conv2D" in operations(layer, training=True)
    assert "Conv2D" not in operations(layer, training=False)
    with local_graph():
        assert "Conv2D" in operations(layer, training=False)


def test_frozen_changed_and_other_layers_are_called(fast):
    frozen, no_bias, quantized = make_layer(), make_layer(use_bias=False), make_layer()
    frozen.trainable = False
    quantized.quantize("int8")
    for layer in (frozen, no_bias, quantized, keras.Sequential([make_layer()])):
        assert "Conv2D" not in operations(layer, training=True)


def test_only_bfloat16_on_a_processor_with_matrix_units_has_a_fast_form(monkeypatch):
    for flags, dtype, expected in (
        ({"amx_bf16"}, "bfloat16", True),
        ({"amx_bf16"}, "float32", False),
        ({"avx512_bf16"}, "bfloat16", False),
    ):
        monkeypatch.setattr(projection, "instruction_sets", lambda flags=flags: frozenset(flags))
        has_fast_form.cache_clear()
        assert has_fast_form(dtype) == expected
    has_fast_form.cache_clear()


def test_predict_equals_a_call():
    config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
    model = vit(config, num_classes=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("float32")
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape) * 0.1)
    np.testing.assert_allclose(model.predict(images, verbose=0), model(images, training=False), rtol=1e-4, atol=1e-5)
