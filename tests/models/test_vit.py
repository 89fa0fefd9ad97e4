import json
import math
from pathlib import Path

import keras
import numpy as np
import oracle
import pytest
from backends import forward, only_elsewhere
from contracts import JIT

from vit_keras import ViTConfig, load_preset, model_config, vit
from vit_keras.models.vit import weight_shapes
from vit_keras.runtime.precision import dtype_policy

GOLDEN = Path(__file__).parents[1] / "golden" / "weight_names.json"
# Shapes as in the layers' tests, and grids of four patches: JAX compiles few programs.
TINY = ViTConfig(image_size=16, patch_size=8, hidden_dim=8, num_layers=2, num_heads=2, mlp_dim=16)
MAP = TINY.replace(image_size=8, patch_size=4, stem="conv", pooling="map", class_token=False, layer_scale=1e-5)
CONFIGS = {
    "token": TINY,
    "mean_beside_a_token": TINY.replace(pooling="mean"),
    "token_and_mean": TINY.replace(pooling="token_and_mean"),
    "map_of_a_token": TINY.replace(pooling="map", activation="gelu_tanh"),
    "map_of_patches": TINY.replace(pooling="map", num_registers=1, map_includes_prefix=False),
    "conv_map": MAP,
    "sincos_mae": TINY.replace(position_embedding="sincos2d_mae", image_size=(32, 8)),
    "sincos": TINY.replace(position_embedding="sincos2d", image_size=(8, 32), num_registers=2),
    "gray": TINY.replace(channels=1, pixel_mean=0.1, pixel_std=0.3),
    "distilled": TINY.replace(distillation_token=True),
    "registers": TINY.replace(num_registers=3, position_on_prefix=False, position_resize="bicubic_offset"),
    "registers_alone": TINY.replace(num_registers=1, class_token=False, pooling="mean", final_norm="after"),
    "clip": TINY.replace(
        stem_norm=True, patch_bias=False, activation="quick_gelu", norm_epsilon=1e-5, pixel_mean=(0.485, 0.456, 0.406),
        pixel_std=(0.229, 0.224, 0.225),
    ),
    "no_qkv_bias": TINY.replace(qkv_bias="none", pre_logits_dim=6),
    "eva": TINY.replace(
        image_size=(8, 32), qkv_bias="query_value", gated_mlp=True, activation="silu", mlp_inner_norm=True, attention_inner_norm=True, pooling="mean",
        final_norm="after", rotary_embedding="axial", rotary_temperature=1e4, rotary_reference=16,
    ),
    "rotary_xy": TINY.replace(image_size=(8, 32), rotary_embedding="axial", rotary_order="xy", position_embedding="none"),
    "rotary_mixed": TINY.replace(
        image_size=(8, 32), rotary_embedding="mixed", rotary_temperature=10, rotary_order="xy", position_on_prefix=False
    ),
    "dinov3": TINY.replace(
        image_size=(8, 32), rotary_embedding="centered", num_registers=2, position_embedding="none", qkv_bias="none",
        layer_scale=1e-5, norm_epsilon=1e-5,
    ),
    "qk_norm": TINY.replace(qk_norm=True, norm_epsilon=1e-3),
    "partial_patches": TINY.replace(image_size=(19, 23), partial_patches="crop"),
    "no_final_norm": TINY.replace(final_norm="none", pooling="mean"),
    "perception": TINY.replace(
        image_size=(8, 32), stem_norm=True, patch_bias=False, rotary_embedding="axial", rotary_temperature=1e4, rotary_order="xy",
        rotary_reference=(3, 5), rotary_offset=1.0, pooling="map", num_map_heads=4, map_mlp_dim=12, norm_epsilon=1e-5,
    ),
    "distilled_without_its_head": TINY.replace(distillation_token=True, distillation_head=False, pooling="mean", final_norm="after"),
    "parallel": TINY.replace(parallel_block=True, qk_norm=True, layer_scale=1e-5),
    "aimv2": TINY.replace(
        norm="rms", norm_epsilon=1e-2, patch_norm=True, projection_bias=False, qkv_bias="none", gated_mlp=True, activation="silu",
        class_token=False, pooling="mean",
    ),
    "rms_everywhere": TINY.replace(norm="rms", stem_norm=True, qk_norm=True, mlp_inner_norm=True, pooling="map"),
    "beit": TINY.replace(
        image_size=(8, 32), relative_position="table", position_embedding="none", qkv_bias="query_value", layer_scale=0.1,
        pooling="mean", final_norm="after",
    ),
    "beit_shared": TINY.replace(image_size=(32, 8), relative_position="table", relative_position_shared=True),
    "relative_table_of_patches": TINY.replace(relative_position="table", class_token=False, pooling="mean"),
    "relative_mlp": TINY.replace(image_size=(8, 32), relative_position="mlp", relative_position_dim=5, num_registers=1),
    "relative_mlp_shared": TINY.replace(
        relative_position="mlp", relative_position_shared=True, relative_position_dim=5, parallel_block=True
    ),
    "norm_after_the_branch": TINY.replace(block_norm="after", layer_scale=0.1),
    "differential": TINY.replace(differential_attention=True, num_layers=3),
    "differential_parallel": TINY.replace(differential_attention=True, parallel_block=True, layer_scale=0.1),
}  # fmt: skip
FEATURES = ("token_and_mean", "map_of_patches", "no_qkv_bias", "eva")  # built without a head
# Between them they have every layer and every branch of a layer.
EVERYWHERE = (
    "token", "map_of_a_token", "conv_map", "sincos_mae", "distilled", "registers", "clip", "eva", "rotary_xy", "rotary_mixed", "dinov3",
    "partial_patches", "perception", "parallel", "aimv2", "beit", "relative_mlp_shared", "norm_after_the_branch", "differential",
)  # fmt: skip


def pixels(config, count=2):
    return np.random.default_rng(0).integers(0, 256, size=(count, *config.image_size, config.channels), dtype="uint8")


def outputs_of(model, images):
    return keras.ops.convert_to_numpy(forward(model, images))


@pytest.mark.parametrize("name", only_elsewhere(CONFIGS, *EVERYWHERE))
def test_forward_pass_equals_the_oracle_and_the_model_knows_its_config(name):
    config = CONFIGS[name]
    num_classes = None if name in FEATURES else 3
    model = oracle.randomize(vit(config, num_classes=num_classes))
    expected = oracle.vit(config, oracle.weights_of(model), pixels(config))
    assert expected.shape == (2, num_classes or config.feature_dim)
    oracle.assert_close(outputs_of(model, pixels(config)), expected)
    assert model_config(model) == config


GRADIENTS = (
    "map_of_a_token", "distilled", "clip", "eva", "dinov3", "rotary_mixed", "parallel", "aimv2", "beit", "relative_mlp_shared",
    "norm_after_the_branch", "differential",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", only_elsewhere(GRADIENTS, "map_of_a_token", "eva", "rotary_mixed", "beit", "differential")
)
def test_a_step_goes_down_the_gradient_of_the_oracle(name):
    config, random = CONFIGS[name], np.random.default_rng(1)
    model = oracle.randomize(vit(config, num_classes=3))
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=JIT, run_eagerly=not JIT)
    before, targets = oracle.weights_of(model), random.normal(size=(2, 3)).astype("float32")
    model.train_on_batch(pixels(config), targets)
    after = oracle.weights_of(model)
    direction = {path: random.normal(size=value.shape) for path, value in before.items()}

    def loss_at(distance):
        weights = {path: value + distance * direction[path] for path, value in before.items()}
        return np.mean((oracle.vit(config, weights, pixels(config)) - targets) ** 2)

    parts = np.concatenate([((before[path] - after[path]) * direction[path]).ravel() for path in before])
    # Parts of both signs nearly cancel in some directions: what float32 loses goes by the parts, not by their sum.
    assert parts.sum() == pytest.approx((loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, rel=0, abs=1e-6 * np.abs(parts).sum())


def test_shapes_of_the_largest_preset_take_no_memory():
    config = load_preset("vit_7b_patch16_dinov3").config  # 25 GiB in float32
    assert sum(map(math.prod, weight_shapes(config).values())) == config.num_params > 6e9
    assert outputs_of(vit(TINY), pixels(TINY)).shape == (2, 8)  # a model that is built later does not create them


def test_pixels_of_every_dtype_give_the_same_result():
    model = oracle.randomize(vit(TINY, num_classes=3))
    images = pixels(TINY)
    expected = keras.ops.convert_to_numpy(model(images))
    for dtype in ("float32", "float64", "float16", "int32"):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(images.astype(dtype))), expected)


@pytest.mark.parametrize(
    ("policy", "config"),
    [
        ("mixed_bfloat16", TINY),
        ("bfloat16", MAP),
        ("mixed_float16", TINY),
    ],
)
def test_logits_are_float32_and_right_in_half_precision(policy, config):
    with dtype_policy(policy):
        model = oracle.randomize(vit(config, num_classes=3))
    model.compile(jit_compile=JIT)
    logits = model.predict(pixels(config), verbose=0)
    assert logits.dtype == "float32"
    expected = oracle.vit(config, oracle.weights_of(model), pixels(config))
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
    dtype = "bfloat16" if policy == "bfloat16" else "float32"
    assert {weight.dtype for weight in model.weights if not weight.path.startswith("head/")} == {dtype}


def test_a_new_head_starts_at_zero_and_softmax_ends_in_probabilities():
    logits = vit(TINY, num_classes=5)
    assert not outputs_of(logits, pixels(TINY)).any()
    model = oracle.randomize(vit(TINY, num_classes=5, classifier_activation="softmax"))
    logits.set_weights(model.get_weights())
    probabilities = outputs_of(model, pixels(TINY))
    oracle.assert_close(probabilities.sum(axis=-1), 1)
    oracle.assert_close(probabilities, oracle.softmax(outputs_of(logits, pixels(TINY))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"num_classes": value}, f"num_classes={value!r} is not a positive integer; None leaves out the head") for value in (0, 2.0, True)),
        ({"classifier_activation": "softmax"}, r"classifier_activation='softmax' needs num_classes\."),
    ],
)  # fmt: skip
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        vit(TINY, **arguments)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_stochastic_depth_rises_from_zero_to_exactly_its_rate(num_layers):
    model = vit(TINY.replace(num_layers=num_layers, stochastic_depth_rate=0.1))
    rates = [layer.stochastic_depth_rate for layer in model.layers if layer.name.startswith("block_")]
    assert rates == pytest.approx(np.linspace(0, 0.1, num_layers) if num_layers > 1 else [0.1])
    assert model_config(model).stochastic_depth_rate == 0.1


def test_refuses_the_config_of_a_foreign_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="mine")
    with pytest.raises(ValueError, match=r"The model 'mine' was not made by vit_keras\.vit, so it has no ViTConfig\."):
        model_config(model)


def test_weight_names_and_shapes_are_the_golden_ones():
    # Checkpoints are written with these names: add, never rename.
    models = {"token": vit(TINY, num_classes=3), "conv_map": vit(MAP, num_classes=3)}
    names = {name: {weight.path: list(weight.shape) for weight in model.weights} for name, model in models.items()}
    assert names == json.loads(GOLDEN.read_text())
