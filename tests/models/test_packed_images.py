"""Models with `max_num_patches` take images of any aspect ratio in one batch, and give transformers' and timm's outputs (NaFlex)."""

from pathlib import Path

import keras
import numpy as np
import oracle
import pytest
from backends import forward, only_elsewhere
from contracts import JIT
from safetensors.numpy import load_file, save_file
from training.weights import arrays

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError
from vit_keras.packing import pack_image

GOLDEN = Path(__file__).parents[1] / "golden" / "naflex"
SMALL = {"image_size": 16, "patch_size": 4, "hidden_dim": 24, "num_layers": 2, "num_heads": 2, "max_num_patches": 18}
SIGLIP = {
    "mlp_dim": 40,
    "class_token": False,
    "pooling": "map",
    "activation": "gelu_tanh",
    "position_resize": "bilinear_antialias",
}
TIMM = {"mlp_dim": 48, "class_token": False, "position_on_prefix": False}
CASES = {
    "siglip2": SIGLIP,
    "timm_gap": {**TIMM, "num_registers": 4, "layer_scale": 1e-5, "pooling": "mean", "final_norm": "after"},
    "timm_map": {**TIMM, "num_registers": 1, "layer_scale": 1e-5, "pooling": "map", "map_includes_prefix": False},
    "timm_siglip": {**SIGLIP, "mlp_dim": 48},
    "timm_token": {**TIMM, "class_token": True, "num_registers": 4, "layer_scale": 1e-5},
    "timm_par": {
        **TIMM, "num_registers": 4, "layer_scale": 1e-5, "pooling": "mean", "final_norm": "after",
        "position_resize": "bicubic_antialias_crop",
    },
    "timm_radio": {
        **TIMM, "class_token": True, "num_registers": 7, "layer_scale": 1e-5, "final_norm": "none",
        "position_resize": "bilinear_corners_crop",
    },
}  # fmt: skip
PLAIN = vk.ViTConfig(**SMALL, mlp_dim=40)


def pack(images, most=18):
    return np.stack([pack_image(image, patch_size=4, max_num_patches=most) for image in images])


def random_images(*grids):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (4 * rows, 4 * columns, 3)).astype("uint8") for rows, columns in grids]


def run(model, batch):
    return keras.ops.convert_to_numpy(forward(model, batch))


@pytest.fixture
def reference(name, tmp_path):
    """A model with the weights of a reference, the reference's images, and its outputs."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    weights = {key.removeprefix("weights/"): each for key, each in tensors.items() if key.startswith("weights/")}
    save_file({key: np.array(each) for key, each in weights.items()}, tmp_path / "model.safetensors")
    images = [tensors[f"image/{index}"] for index in range(5)]
    config = vk.ViTConfig(**{**SMALL, **CASES[name]})
    model = vk.vit(config, num_classes=tensors["output"].shape[1] if "timm" in name else None)
    plan = vk.weights.load(model, tmp_path / "model.safetensors")
    assert plan.table.source == ("huggingface" if name == "siglip2" else "timm")
    assert not plan.notes
    return model, images, tensors


@pytest.mark.parametrize("name", only_elsewhere(CASES, "siglip2", "timm_gap"))
def test_a_batch_of_several_aspect_ratios_equals_the_library(reference):
    model, images, tensors = reference
    packed, prefix = pack(images), vk.model_config(model).num_prefix_tokens
    tokens = keras.ops.convert_to_numpy(vk.feature_extractor(model, blocks=-1)(packed))
    for found, expected, image in zip(tokens, tensors["tokens"], images, strict=True):
        count = prefix + image.shape[0] * image.shape[1] // 16  # the library's padding means as little as ours
        np.testing.assert_allclose(found[:count], expected[:count], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(model, packed), tensors["output"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", only_elsewhere(("siglip2", "timm_gap", "timm_token", "timm_radio"), "timm_gap"))
def test_a_padded_batch_equals_each_image_alone_without_padding_and_in_a_plain_model(reference):
    model, images, _ = reference
    together = run(model, pack(images))
    for image, expected in list(zip(images, together, strict=True))[:4:3]:
        rows, columns = image.shape[0] // 4, image.shape[1] // 4
        exact = vk.rebuild(model, max_num_patches=rows * columns)
        np.testing.assert_allclose(run(exact, pack([image], rows * columns))[0], expected, rtol=1e-4, atol=1e-5)
        plain = vk.rebuild(model, max_num_patches=None, image_size=image.shape[:2])
        np.testing.assert_allclose(run(plain, image[None])[0], expected, rtol=1e-4, atol=1e-5)


OTHERS = {
    "sincos2d": {"position_embedding": "sincos2d", "pooling": "token_and_mean"},
    "no positions": {"position_embedding": "none", "distillation_token": True},
    "parallel": {"parallel_block": True, "qk_norm": True, "position_resize": "bicubic"},
    "dinov2": {"position_resize": "bicubic_offset", "pooling": "mean"},
    "differential": {"differential_attention": True},
    "corners": {"position_resize": "bilinear_corners", "pooling": "map", "num_registers": 2},
}


@pytest.mark.parametrize("name", only_elsewhere(OTHERS, "differential"))
def test_every_plain_model_can_take_packed_images(name):
    plain = oracle.randomize(vk.vit(PLAIN.replace(max_num_patches=None, **OTHERS[name]), num_classes=3))
    model = vk.rebuild(plain, max_num_patches=18)
    images = random_images((4, 4), (2, 6), (9, 2))
    found = run(model, pack(images))
    for image, row in zip(images, found, strict=True):
        alone = vk.rebuild(plain, image_size=image.shape[:2])
        np.testing.assert_allclose(run(alone, image[None])[0], row, rtol=1e-4, atol=1e-5)


def test_padding_has_no_effect_on_outputs_or_gradients():
    model = oracle.randomize(vk.vit(PLAIN.replace(pooling="map", class_token=False, dropout_rate=0.0), num_classes=3))
    packed = pack(random_images((2, 3), (4, 4)))
    noisy = packed.copy()
    noisy[0, 6:, 2:] = 77
    np.testing.assert_array_equal(run(model, packed), run(model, noisy))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=JIT, run_eagerly=not JIT)
    before, weights = arrays(model.weights), []
    for batch in (packed, noisy):
        model.set_weights(before)
        model.train_on_batch(batch, np.array([0, 2]))
        weights.append(arrays(model.weights))
    for one, other in zip(*weights, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


def test_the_model_is_saved_and_trained_in_every_way(tmp_path):
    config = PLAIN.replace(stochastic_depth_rate=0.1, remat="block")
    model = oracle.randomize(vk.vit(config, num_classes=3))
    assert model.input_shape == (None, 18, 18, 3) == (None, *config.image_shape)
    assert vk.model_config(model) == config
    assert model.count_params() == config.num_params + 3 * 25
    packed = pack(random_images((2, 3), (4, 4)))
    expected = model.predict(packed, verbose=0)
    model.save(tmp_path / "model.keras")
    vk.save_preset(model, tmp_path / "preset")
    for path in ("model.keras", "preset"):
        np.testing.assert_array_equal(vk.load_model(tmp_path / path).predict(packed, verbose=0), expected)
    assert vk.load_preprocessing(tmp_path / "preset") == vk.data.default_preprocessing(config)
    with_dropout = vk.rebuild(
        model, remat="none", dropout_rate=0.1, attention_dropout_rate=0.1, dtype_policy="mixed_bfloat16"
    )
    with_dropout.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=JIT)
    assert np.isfinite(with_dropout.train_on_batch(packed, np.array([0, 2])))


def test_what_is_not_supported_is_refused_in_words():
    for changes, message in (
        ({"rotary_embedding": "axial"}, "max_num_patches can't be combined with rotary_embedding='axial'"),
        ({"dynamic_image_size": True}, "dynamic_image_size=True"),
        ({"stem": "conv"}, "stem='conv'"),
        ({"max_num_patches": 0}, "neither None nor an integer from 1"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            PLAIN.replace(**changes)
    model = vk.vit(PLAIN, num_classes=3)
    with pytest.raises(InvalidArgumentError, match="no map of one size"):
        vk.feature_extractor(model, as_grid=True)
    with pytest.raises(InvalidArgumentError, match=r"vk.rebuild\(model, max_num_patches=None"):
        vk.explain.attention_rollout(model, pack(random_images((2, 3))))
    with pytest.raises(InvalidArgumentError, match="takes packed images"):
        vk.layers.PackedPatches()(np.zeros((1, 4, 17, 3)))
