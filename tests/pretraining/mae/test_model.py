import keras
import numpy as np
import oracle
import pytest
from backends import only_elsewhere
from contracts import JIT
from keras import ops
from pretraining.mae.numpy_autoencoder import masked_autoencoder
from training.weights import arrays, assert_equal, changed, values

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.pretraining import MaskedAutoencoder
from vit_keras.training.optim.optimizers import AdamW

CONFIG = ViTConfig(image_size=(16, 24), patch_size=4, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
VARIANTS = {
    "class token": {},
    "mean": {"class_token": False, "pooling": "mean", "final_norm": "after", "position_embedding": "sincos2d"},
    "registers": {
        "num_registers": 2, "position_on_prefix": False, "layer_scale": 0.1, "gated_mlp": True, "activation": "silu", "pooling": "map",
    },
    "distilled": {"distillation_token": True, "qkv_bias": "none", "activation": "gelu_tanh"},
    "parallel": {"parallel_block": True, "channels": 1, "pre_logits_dim": 8},
    "conv": {"stem": "conv", "pixel_mean": (0.4,), "pixel_std": (0.2,)},
}  # fmt: skip


def autoencoder(seed=0, *, num_layers=1, **changes):
    keras.utils.set_random_seed(seed)
    options = {name: changes.pop(name) for name in ("mask_ratio", "norm_targets", "decoder_dim") if name in changes}
    encoder = vit(CONFIG.replace(num_layers=num_layers, **changes))
    model = MaskedAutoencoder(oracle.randomize(encoder), **options)
    oracle.randomize(model.decoder)
    return model


def reconstruct(model, images, noise):
    """Compiled on JAX, which otherwise compiles every operation by itself."""
    function = lambda images, noise: model.reconstruct(images, noise=noise)  # noqa: E731
    if JIT:
        import jax

        function = jax.jit(function)
    return {name: ops.convert_to_numpy(each) for name, each in function(images, noise).items()}


def batch(config, count=3):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (count, *config.image_shape)).astype("uint8")
    return images, rng.random((count, config.num_patches)).astype("float32")


@pytest.mark.parametrize("variant", only_elsewhere(VARIANTS, "class token", "registers", "conv"))
def test_loss_predictions_and_mask_are_those_of_numpy(variant):
    model = autoencoder(num_layers=2, norm_targets=variant != "registers", mask_ratio=0.7, **VARIANTS[variant])
    images, noise = batch(model.config)
    found = reconstruct(model, images, noise)
    loss, predictions, mask = masked_autoencoder(model, images, noise)
    np.testing.assert_array_equal(found["mask"], mask)
    oracle.assert_close(found["predictions"], predictions)
    oracle.assert_close(found["loss"], loss)


@pytest.mark.parametrize("variant", only_elsewhere(("class token", "conv"), "conv"))
def test_no_masked_pixel_reaches_the_encoder(variant):
    model = autoencoder(**VARIANTS[variant])
    images, noise = batch(model.config)
    before = reconstruct(model, images, noise)
    mask = before["mask"].reshape(-1, *model.config.grid_size)
    masked = mask.repeat(4, axis=1).repeat(4, axis=2)[..., None] > 0
    others = reconstruct(model, np.where(masked, 255 - images, images), noise)
    np.testing.assert_array_equal(before["predictions"], others["predictions"])
    seen = reconstruct(model, np.where(masked, images, 255 - images), noise)
    assert not np.array_equal(before["predictions"], seen["predictions"])


def test_training_reaches_every_weight_but_those_of_pooling_and_validation_masks_the_same_patches():
    model = autoencoder(class_token=True, pooling="map", num_registers=1)
    images, _ = batch(model.config, 8)
    model.compile(AdamW(1e-2, weight_decay=0.1), jit_compile=JIT)
    before = values(model)
    history = model.fit(images, validation_data=(images, np.zeros(8)), batch_size=8, epochs=2, verbose=0).history
    assert all(np.isfinite(history["loss"]))
    assert set(history) == {"loss", "val_loss"}
    kept = set(before) - changed(before, values(model))
    assert {name.split("/")[0] for name in kept} == {"pooling", "decoder", "seed_generator_state"} - {
        "seed_generator_state"
    }
    assert {name for name in kept if name.startswith("decoder")} == {"decoder/position_embedding"}
    again = [model.evaluate(images, verbose=0) for _ in range(2)]
    assert again[0] == again[1] == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_masks_differ_by_step_and_seed_and_are_the_same_for_the_same_seed():
    encoder, (images, _) = autoencoder().encoder, batch(CONFIG, 4)
    masks = []
    for seed in (1, 1, 2):
        model = MaskedAutoencoder(encoder, seed=seed)
        masks.append([ops.convert_to_numpy(model.draw_masking(images, training=True).mask).copy() for _ in range(2)])
    assert_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0][0], masks[0][1])
    assert not np.array_equal(masks[0][0], masks[2][0])


def test_bfloat16_computes_targets_and_loss_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        narrow = autoencoder()
    finally:
        keras.config.set_dtype_policy("float32")
    wide = autoencoder()
    for weight, other in zip(narrow.weights, wide.weights, strict=True):
        weight.assign(other)
    images, noise = batch(CONFIG)
    found = reconstruct(narrow, images, noise)
    assert {str(each.dtype) for each in found.values()} == {"float32"}
    expected, _, _ = masked_autoencoder(wide, images, noise)
    np.testing.assert_allclose(found["loss"], expected, rtol=0.05)
    # With predictions of zero, the loss is that of the targets alone: exact.
    for model in (narrow, wide):
        for weight in model.decoder.predict_patches.weights:
            weight.assign(np.zeros(weight.shape, "float32"))
    np.testing.assert_array_equal(*(reconstruct(model, images, noise)["loss"] for model in (narrow, wide)))


@pytest.mark.any_backend
def test_a_step_is_the_same_with_remat_and_with_accumulation():
    images, noise = batch(CONFIG, 4)

    def train(model, count=1, **optimizer):
        model.call = lambda images, training=None: MaskedAutoencoder.call(model, images, training, noise=noise)
        model.compile(keras.optimizers.SGD(0.1, **optimizer), jit_compile=JIT)
        before = arrays(model.trainable_variables)
        for _ in range(count):
            model.train_on_batch(images)
        return [after - old for after, old in zip(arrays(model.trainable_variables), before, strict=True)]

    plain = train(autoencoder())
    assert all(change.any() for change in plain)
    recomputed = train(autoencoder(remat="block"))
    accumulated = train(autoencoder(), count=2, gradient_accumulation_steps=2)
    for others in (recomputed, accumulated):
        for one, other in zip(plain, others, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_it_is_saved_and_loaded_by_keras(tmp_path):
    model = autoencoder(mask_ratio=0.5, decoder_dim=24, norm_targets=False)
    model.save(tmp_path / "mae.keras")
    loaded = keras.saving.load_model(tmp_path / "mae.keras")
    images, noise = batch(CONFIG)
    assert_equal(*(reconstruct(one, images, noise).values() for one in (model, loaded)))
    assert loaded.get_config() == {**model.get_config(), "encoder": loaded.get_config()["encoder"]}


@pytest.mark.any_backend
def test_a_head_is_left_out_and_a_frozen_encoder_refused(tiny_model, tiny_config, caplog):
    model = MaskedAutoencoder(tiny_model)
    assert "without its head ('head')" in caplog.text
    assert model.encoder.output_shape == (None, 16)
    frozen = vit(tiny_config)
    frozen.trainable = False
    with pytest.raises(InvalidArgumentError, match="are frozen"):
        MaskedAutoencoder(frozen)


@pytest.mark.any_backend
def test_bad_arguments_and_images_are_refused():
    encoder = vit(CONFIG.replace(num_layers=1))
    with pytest.raises(InvalidArgumentError, match="leaves none visible of 24 patches"):
        MaskedAutoencoder(encoder, mask_ratio=0.99)
    with pytest.raises(InvalidArgumentError, match="decoder_dim=30 must be divisible by 4"):
        MaskedAutoencoder(encoder, decoder_dim=30)
    with pytest.raises(InvalidArgumentError, match=r"not made by vit_keras\.vit"):
        MaskedAutoencoder(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    model = MaskedAutoencoder(encoder)
    for shape in ((2, 3, 3, 3), (2, 16, 16, 3), (16, 24, 3), (2, 16, 24, 1)):
        with pytest.raises(InvalidArgumentError, match=r"the encoder takes .* with \(16, 24, 3\)"):
            model(np.zeros(shape, "uint8"))


@pytest.mark.any_backend
def test_pictures_show_whole_images_and_the_same_masks_each_time():
    model = autoencoder()
    images, _ = batch(CONFIG)
    first, second = model.pictures(images), model.pictures(images)
    assert list(first) == ["input", "masked", "reconstructed", "target"]
    np.testing.assert_array_equal(first["input"], images)
    assert_equal(first.values(), second.values())
    assert (first["masked"] != images).any(axis=-1).mean() == pytest.approx(0.75, abs=0.02)
    assert "18 of 24 patches" in model.describe()[0]
