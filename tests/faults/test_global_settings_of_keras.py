"""What Keras is told for all layers, an image data format or a precision, breaks no model."""

from contextlib import contextmanager

import keras
import numpy as np
import oracle
import pytest
from backends import some_elsewhere
from contracts import JIT

import vit_keras as vk

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=16)
CONV = CONFIG.replace(stem="conv")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("float32")


def outputs(model):
    return keras.ops.convert_to_numpy(model(IMAGES))


@contextmanager
def keras_setting(name, value):
    before = getattr(keras.config, name)()
    getattr(keras.config, f"set_{name}")(value)
    try:
        yield
    finally:
        getattr(keras.config, f"set_{name}")(before)


def test_a_convolutional_stem_takes_channels_last_images_under_channels_first(tmp_path):
    with keras_setting("image_data_format", "channels_first"):
        model = oracle.randomize(vk.vit(CONV, num_classes=3))
        expected = oracle.vit(CONV, oracle.weights_of(model), IMAGES)
        np.testing.assert_allclose(outputs(model), expected, rtol=1e-5, atol=1e-5)
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(outputs(keras.saving.load_model(tmp_path / "model.keras")), outputs(model))


@pytest.mark.parametrize("name", some_elsewhere(["mixed_bfloat16", "bfloat16"], every=2))
def test_a_distilled_model_averages_its_heads_in_float32(name):
    with keras_setting("dtype_policy", name):
        model = oracle.randomize(vk.vit(CONFIG.replace(distillation_token=True), num_classes=3))
    heads = [model.get_layer(head).output for head in ("head", "head_distillation")]
    found = keras.Model(model.input, [*heads, model.output])(IMAGES)
    first, second, logits = (keras.ops.convert_to_numpy(each) for each in found)
    assert logits.dtype == "float32"
    np.testing.assert_array_equal(logits, (first + second) / 2)


def test_adapters_compute_and_train_in_pure_half_precision():
    full = oracle.randomize(vk.vit(CONFIG, num_classes=3))
    with keras_setting("dtype_policy", "bfloat16"):
        model = vk.vit(CONFIG, num_classes=3)
        model.set_weights(full.get_weights())
        adapted = vk.training.add_lora(model, rank=2)
    np.testing.assert_array_equal(outputs(adapted), outputs(model))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adapted.compile(keras.optimizers.SGD(0.01), loss, run_eagerly=not JIT, jit_compile=JIT)
    history = adapted.fit(IMAGES, np.arange(4) % 3, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    ups = [weight for weight in adapted.weights if weight.name == "adapter_up"]
    assert {weight.dtype for weight in ups} == {"float32"}
    assert all(np.any(keras.ops.convert_to_numpy(weight)) for weight in ups)
