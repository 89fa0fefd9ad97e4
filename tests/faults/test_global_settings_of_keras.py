"""What Keras is told for all layers, an image data format or a precision, breaks no model."""

from contextlib import contextmanager

import keras
import numpy as np
import oracle
import pytest
from contracts import JIT

import vit_keras as vk

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=16)
CONV = CONFIG.replace(stem="conv")
DISTILLED = CONFIG.replace(distillation_token=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("float32")


def outputs(model):
    return keras.ops.convert_to_numpy(model(IMAGES))


@contextmanager
def policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def test_a_convolutional_stem_takes_channels_last_images_under_channels_first(tmp_path):
    with channels_first():
        model = oracle.randomize(vk.vit(CONV, num_classes=3))
        expected = oracle.vit(CONV, oracle.weights_of(model), IMAGES)
        np.testing.assert_allclose(outputs(model), expected, rtol=1e-5, atol=1e-5)
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(outputs(keras.saving.load_model(tmp_path / "model.keras")), outputs(model))


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_a_distilled_model_averages_its_heads_in_float32(name):
    with policy(name):
        model = oracle.randomize(vk.vit(DISTILLED, num_classes=3))
    heads = [model.get_layer(head).output for head in ("head", "head_distillation")]
    first, second, logits = (
        keras.ops.convert_to_numpy(each) for each in keras.Model(model.input, [*heads, model.output])(IMAGES)
    )
    assert logits.dtype == "float32"
    np.testing.assert_array_equal(logits, (first + second) / 2)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_adapters_compute_and_train_in_pure_half_precision(name):
    full = oracle.randomize(vk.vit(CONFIG, num_classes=3))
    with policy(name):
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
