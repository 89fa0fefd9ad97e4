"""Models of `dynamic_image_size=True` take images of any height and width."""

import keras
import numpy as np
import oracle
import pytest
from backends import only_elsewhere, some_elsewhere

import vit_keras as vk

CONFIG = vk.ViTConfig(
    image_size=(12, 16), patch_size=4, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=24, pixel_mean=(0.4, 0.5, 0.6),
    pixel_std=(0.2, 0.3, 0.4), position_embedding="none", dynamic_image_size=True,
)  # fmt: skip
WITHOUT_TABLE = {
    "sincos2d": {"position_embedding": "sincos2d", "distillation_token": True},
    "axial": {"rotary_embedding": "axial", "rotary_reference": (5, 7), "pooling": "mean", "num_registers": 2},
    "mixed": {
        "rotary_embedding": "mixed",
        "rotary_order": "xy",
        "stem": "conv",
        "pooling": "map",
        "class_token": False,
    },
    "centered": {"rotary_embedding": "centered", "gated_mlp": True, "qk_norm": True},
}


def random_images(*size):
    return np.random.default_rng(1).integers(0, 256, (2, *size, 3)).astype("uint8")


def padded(images, config):
    """The images with mean pixels, which the model's normalization makes zeros, at the bottom and right."""
    rows, columns = (-(-side // config.patch_size) * config.patch_size for side in images.shape[1:3])
    mean = np.broadcast_to(255 * np.array(config.pixel_mean), (len(images), rows, columns, 3)).copy()
    mean[:, : images.shape[1], : images.shape[2]] = images
    return mean


@pytest.mark.parametrize("kind", only_elsewhere(WITHOUT_TABLE, "sincos2d", "mixed"))
def test_outputs_at_every_size_are_those_of_plain_numpy(kind):
    config = CONFIG.replace(**WITHOUT_TABLE[kind])
    model = oracle.randomize(vk.vit(config, num_classes=3))
    for weight in model.weights:
        if weight.path.endswith("moving_variance"):
            weight.assign(np.ones(weight.shape))
    assert vk.model_config(model) == config
    for size in ((12, 16), (20, 8), (9, 30)):
        images = padded(random_images(*size), config)
        expected = oracle.vit(config.replace(image_size=images.shape[1:3]), oracle.weights_of(model), images)
        found = model.predict(random_images(*size), verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "rotary",
    some_elsewhere([{"rotary_embedding": "axial", "rotary_reference": (5, 7), "rotary_offset": 1.0}, {}], every=2),
)
def test_partial_patches_are_cropped_at_every_size_as_in_a_model_of_one_size(rotary):
    config = CONFIG.replace(partial_patches="crop", image_size=(15, 18), **rotary)
    assert config.image_size == (12, 16)
    model = oracle.randomize(vk.vit(config, num_classes=3))
    assert vk.model_config(model) == config
    for size in ((12, 16), (9, 30)):
        expected = oracle.vit(
            config.replace(image_size=size, dynamic_image_size=False), oracle.weights_of(model), random_images(*size)
        )
        found = model.predict(random_images(*size), verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_model_is_saved_rebuilt_and_trained_at_several_sizes(tmp_path):
    config = CONFIG.replace(position_embedding="learned", stochastic_depth_rate=0.1, remat="block")
    model = oracle.randomize(vk.vit(config, num_classes=3))
    assert model.input_shape == (None, None, None, 3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=keras.backend.backend() == "jax")
    positions = model.get_layer("patch_encoder").positions
    for size in ((16, 8), (10, 20)):
        before = keras.ops.convert_to_numpy(positions).copy()
        model.train_on_batch(random_images(*size), np.array([0, 2]))
        assert (keras.ops.convert_to_numpy(positions) != before).any(axis=-1).all()  # a gradient reaches each of them
    expected = model.predict(random_images(10, 20), verbose=0)
    model.save(tmp_path / "model.keras")
    vk.save_preset(model, tmp_path / "preset", class_names=["a", "b", "c"])
    for loaded in (vk.load_model(tmp_path / "model.keras"), vk.from_preset(tmp_path / "preset"), vk.rebuild(model)):
        assert vk.model_config(loaded) == config
        np.testing.assert_allclose(loaded.predict(random_images(10, 20), verbose=0), expected, rtol=1e-5, atol=1e-5)
    fixed = vk.rebuild(model, dynamic_image_size=False)
    np.testing.assert_allclose(
        fixed.predict(random_images(12, 16), verbose=0), model.predict(random_images(12, 16), verbose=0), atol=1e-5
    )


@pytest.mark.any_backend
def test_half_precision_has_the_same_outputs_up_to_its_rounding():
    config = CONFIG.replace(rotary_embedding="axial", position_embedding="learned", rotary_reference=(5, 7))
    model = oracle.randomize(vk.vit(config, num_classes=3))
    images = random_images(20, 28)
    half = vk.rebuild(model, dtype_policy="mixed_bfloat16")
    found, expected = (each.predict(images, verbose=0) for each in (half, model))
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_an_exported_program_takes_every_size(tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("programs of any size are exported on TensorFlow")
    import tensorflow as tf

    config = CONFIG.replace(position_embedding="learned", rotary_embedding="axial")
    model = oracle.randomize(vk.vit(config, num_classes=3))
    model.export(tmp_path / "program", verbose=False)
    program = tf.saved_model.load(tmp_path / "program")
    for size in ((12, 16), (9, 30)):
        images = random_images(*size).astype("float32")
        np.testing.assert_allclose(program.serve(images), model.predict(images, verbose=0), atol=1e-5)
