import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import oracle
import pytest
from contracts import JIT

from vit_keras import ViTConfig, list_presets, load_preset, model_config, vit
from vit_keras.models.vit import weight_shapes

GOLDEN = Path(__file__).parents[1] / "golden" / "weight_names.json"
# As wide as the tokens of the layers' tests, and every grid of four patches: JAX compiles few shapes.
TINY = ViTConfig(image_size=16, patch_size=8, hidden_dim=8, num_layers=2, num_heads=2, mlp_dim=16)
MAP = TINY.replace(image_size=8, patch_size=4, stem="conv", pooling="map", class_token=False, layer_scale=1e-5)
CONFIGS = {
    "token": TINY,
    "rectangle": TINY.replace(image_size=(8, 32)),
    "mean": TINY.replace(pooling="mean", class_token=False),
    "mean_beside_a_token": TINY.replace(pooling="mean"),
    "token_and_mean": TINY.replace(pooling="token_and_mean"),
    "map": TINY.replace(pooling="map", class_token=False),
    "map_of_a_token": TINY.replace(pooling="map", activation="gelu_tanh"),
    "map_of_patches": TINY.replace(pooling="map", num_registers=1, map_includes_prefix=False),
    "conv_map": MAP,
    "sincos": TINY.replace(position_embedding="sincos2d", image_size=(8, 32)),
    "no_positions": TINY.replace(position_embedding="none", num_layers=1),
    "grey": TINY.replace(channels=1, pixel_mean=0.1, pixel_std=0.3),
    "distilled": TINY.replace(distillation_token=True),
    "registers": TINY.replace(num_registers=3, position_on_prefix=False, position_resize="bicubic_offset"),
    "registers_alone": TINY.replace(num_registers=1, class_token=False, pooling="mean", final_norm="after"),
    "registers_sincos": TINY.replace(num_registers=2, position_embedding="sincos2d"),
    "clip": TINY.replace(stem_norm=True, patch_bias=False, activation="quick_gelu", norm_epsilon=1e-5),
    "no_qkv_bias": TINY.replace(qkv_bias="none", pre_logits_dim=6),
    "eva": TINY.replace(
        image_size=(8, 32),
        qkv_bias="query_value",
        gated_mlp=True,
        activation="silu",
        mlp_inner_norm=True,
        pooling="mean",
        final_norm="after",
        rotary_embedding="axial",
        rotary_temperature=1e4,
        rotary_reference=16,
    ),
    "swiglu": TINY.replace(gated_mlp=True, activation="silu", layer_scale=1e-5),
    "rotary_xy": TINY.replace(
        image_size=(8, 32), rotary_embedding="axial", rotary_order="xy", position_embedding="none"
    ),
    "rotary_mixed": TINY.replace(
        image_size=(8, 32), rotary_embedding="mixed", rotary_temperature=10, rotary_order="xy", position_on_prefix=False
    ),
    "dinov3": TINY.replace(
        image_size=(8, 32),
        rotary_embedding="centered",
        num_registers=2,
        position_embedding="none",
        qkv_bias="none",
        layer_scale=1e-5,
        norm_epsilon=1e-5,
    ),
    "qk_norm": TINY.replace(qk_norm=True, norm_epsilon=1e-3),
    "parallel": TINY.replace(parallel_block=True, qk_norm=True, layer_scale=1e-5),
    "pixels": TINY.replace(pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225), norm_epsilon=1e-3),
}


def pixels(config, count=2):
    return np.random.default_rng(0).integers(0, 256, size=(count, *config.image_size, config.channels), dtype="uint8")


def outputs_of(model, images):
    return keras.ops.convert_to_numpy(model(images))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("num_classes", [None, 3])
def test_forward_pass_equals_the_oracle(name, num_classes):
    config = CONFIGS[name]
    model = oracle.randomize(vit(config, num_classes=num_classes))
    expected = oracle.vit(config, oracle.weights_of(model), pixels(config))
    assert expected.shape == (2, num_classes or config.feature_dim)
    np.testing.assert_allclose(outputs_of(model, pixels(config)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["token", "map_of_a_token", "distilled", "clip", "eva", "dinov3", "rotary_mixed", "parallel"]
)
def test_a_step_goes_down_the_gradient_of_the_oracle(name):
    config, random = CONFIGS[name], np.random.default_rng(1)
    model = oracle.randomize(vit(config, num_classes=3))
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=JIT)
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


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_has_the_shapes_its_config_says(name):
    config = load_preset(name).config.replace(num_layers=1)  # the other blocks are the same
    shapes = weight_shapes(config)
    moving = sum(math.prod(shape) for path, shape in shapes.items() if "/moving_" in path)
    assert sum(map(math.prod, shapes.values())) - moving == config.num_params


def test_shapes_of_the_largest_preset_take_no_memory():
    config = load_preset("vit_7b_patch16_dinov3").config  # 25 GiB in float32
    assert sum(map(math.prod, weight_shapes(config).values())) == config.num_params > 6e9
    assert outputs_of(vit(TINY), pixels(TINY)).shape == (
        2,
        8,
    )  # nor does anything that is built afterwards wait for them


def to_transformers(model, config, transformers):
    """The same Vision Transformer in transformers, with the model's weights copied over by hand."""
    import torch

    settings = transformers.ViTConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_channels=config.channels,
        hidden_size=config.hidden_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.mlp_dim,
        hidden_act="gelu",
        layer_norm_eps=config.norm_epsilon,
        num_labels=model.output_shape[-1],
    )
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    size, channels = config.patch_size, config.channels
    kernel = weights["patch_encoder/projection/kernel"].reshape(size, size, channels, -1)
    theirs = {
        "vit.embeddings.cls_token": weights["patch_encoder/class_token"],
        "vit.embeddings.position_embeddings": weights["patch_encoder/position_embedding"],
        "vit.embeddings.patch_embeddings.projection.weight": kernel.transpose(3, 2, 0, 1),
        "vit.embeddings.patch_embeddings.projection.bias": weights["patch_encoder/projection/bias"],
    }

    def dense(name, path):
        theirs[f"{name}.weight"], theirs[f"{name}.bias"] = weights[f"{path}/kernel"].T, weights[f"{path}/bias"]

    def norm(name, path):
        theirs[f"{name}.weight"], theirs[f"{name}.bias"] = weights[f"{path}/gamma"], weights[f"{path}/beta"]

    for index in range(config.num_layers):
        name, path = f"vit.layers.{index}", f"block_{index:02d}"
        kernels = np.split(weights[f"{path}/attention/qkv/kernel"], 3, axis=1)
        biases = np.split(weights[f"{path}/attention/qkv/bias"], 3)
        for part, kernel, bias in zip("qkv", kernels, biases, strict=True):
            theirs[f"{name}.attention.{part}_proj.weight"] = kernel.T
            theirs[f"{name}.attention.{part}_proj.bias"] = bias
        dense(f"{name}.attention.o_proj", f"{path}/attention/output")
        dense(f"{name}.mlp.fc1", f"{path}/mlp/expand")
        dense(f"{name}.mlp.fc2", f"{path}/mlp/contract")
        norm(f"{name}.layernorm_before", f"{path}/attention_norm")
        norm(f"{name}.layernorm_after", f"{path}/mlp_norm")
    norm("vit.layernorm", "final_norm")
    dense("classifier", "head")
    peer = transformers.ViTForImageClassification(settings).eval()
    peer.load_state_dict(
        {name: torch.tensor(np.ascontiguousarray(value)) for name, value in theirs.items()}, strict=True
    )
    return peer


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_size": (8, 32)},
        {"patch_size": 4, "hidden_dim": 32, "num_heads": 4, "mlp_dim": 24, "norm_epsilon": 1e-12},
        {"channels": 1, "num_layers": 1},
    ],
)
def test_forward_pass_equals_transformers(changes):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = TINY.replace(**changes)
    model = oracle.randomize(vit(config, num_classes=5))
    images = pixels(config)
    normalised = (torch.tensor(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = to_transformers(model, config, transformers)(normalised).logits.numpy()
    np.testing.assert_allclose(outputs_of(model, images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_pixels_of_every_dtype_give_the_same_result(dtype):
    model = oracle.randomize(vit(TINY, num_classes=3))
    images = pixels(TINY)
    np.testing.assert_array_equal(outputs_of(model, images.astype(dtype)), outputs_of(model, images))


def test_an_image_does_not_see_the_others_of_its_batch():
    model = oracle.randomize(vit(TINY, num_classes=3))
    images = pixels(TINY)
    changed = np.stack([images[0], 255 - images[1]])
    np.testing.assert_allclose(outputs_of(model, changed)[0], outputs_of(model, images)[0], rtol=1e-6, atol=1e-6)


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


NO_HALF = pytest.mark.xfail(JIT, reason="on a CPU, JAX compiles no float16 attention of Keras'", raises=ValueError)


@pytest.mark.parametrize(
    ("policy", "config"),
    [
        *itertools.product(("float32", "mixed_bfloat16", "bfloat16"), (TINY, MAP)),
        ("mixed_float16", TINY),
        pytest.param("mixed_float16", MAP, marks=NO_HALF),
    ],
    indirect=["policy"],
)
def test_logits_are_float32_and_right_under_every_policy(policy, config):
    model = oracle.randomize(vit(config, num_classes=3))
    model.compile(jit_compile=JIT)
    logits = model.predict(pixels(config), verbose=0)
    assert logits.dtype == "float32"
    expected = oracle.vit(config, oracle.weights_of(model), pixels(config))
    np.testing.assert_allclose(logits, expected, atol=(1e-5 if policy == "float32" else 0.05) * np.abs(expected).max())
    kept = "bfloat16" if policy == "bfloat16" else "float32"
    assert {weight.dtype for weight in model.weights if not weight.path.startswith("head/")} == {kept}


def test_softmax_ends_in_probabilities():
    model = oracle.randomize(vit(TINY, num_classes=5, classifier_activation="softmax"))
    logits = vit(TINY, num_classes=5)
    logits.set_weights(model.get_weights())
    probabilities = outputs_of(model, pixels(TINY))
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities, oracle.softmax(outputs_of(logits, pixels(TINY))), rtol=1e-5, atol=1e-5)


def test_a_new_head_starts_at_zero():
    assert not outputs_of(vit(TINY, num_classes=5), pixels(TINY)).any()


@pytest.mark.parametrize("num_classes", [0, -1, 2.0, "10", True])
def test_refuses_a_number_of_classes_that_is_none(num_classes):
    with pytest.raises(
        ValueError, match=rf"num_classes={num_classes!r} is not a positive integer; None leaves out the head"
    ):
        vit(TINY, num_classes=num_classes)


def test_refuses_an_activation_without_classes():
    with pytest.raises(ValueError, match=r"classifier_activation='softmax' needs num_classes\."):
        vit(TINY, classifier_activation="softmax")


DROPPING = TINY.replace(dropout_rate=0.1, attention_dropout_rate=0.2, stochastic_depth_rate=0.3, norm_epsilon=1e-5)


@pytest.mark.parametrize("config", [*CONFIGS.values(), DROPPING, MAP.replace(remat="block")])
def test_config_of_a_model_is_the_config_it_was_built_from(config):
    assert model_config(vit(config)) == config


@pytest.mark.parametrize("num_layers", [1, 3, 4, 7])
def test_config_of_a_model_keeps_the_stochastic_depth_exactly(num_layers):
    config = TINY.replace(num_layers=num_layers, stochastic_depth_rate=0.1)
    assert model_config(vit(config)).stochastic_depth_rate == 0.1


def test_stochastic_depth_rises_from_zero_to_its_rate():
    model = vit(TINY.replace(num_layers=3, stochastic_depth_rate=0.2))
    rates = [layer.stochastic_depth_rate for layer in model.layers if layer.name.startswith("block_")]
    assert rates == pytest.approx([0, 0.1, 0.2])


def test_refuses_the_config_of_a_foreign_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="mine")
    with pytest.raises(ValueError, match=r"The model 'mine' was not made by vit_keras\.vit, so it has no ViTConfig\."):
        model_config(model)


LOADER = """
import json, sys
import keras, vit_keras
import numpy as np
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    np.save(f"{name}.outputs.npy", keras.ops.convert_to_numpy(model(np.load(f"{name}.npy"))))
    with open(f"{name}.json", "w") as file:
        json.dump(vit_keras.model_config(model).to_dict(), file)
"""


def in_a_fresh_process(code, folder, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_file_loads_in_a_fresh_process_bit_for_bit(tmp_path):
    configs = {"token": DROPPING.replace(position_embedding="sincos2d"), "conv_map": MAP.replace(remat="block")}
    expected = {}
    for name, config in configs.items():
        model = oracle.randomize(vit(config, num_classes=3, classifier_activation="softmax"))
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", pixels(config))
        expected[name] = outputs_of(model, pixels(config))
    in_a_fresh_process(LOADER, tmp_path, *configs)
    for name, config in configs.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.outputs.npy"), expected[name])
        assert ViTConfig.from_dict(json.loads((tmp_path / f"{name}.json").read_text())) == config


@pytest.mark.parametrize(
    "imports",
    [
        "import vit_keras, keras",
        "import vit_keras, importlib.util; importlib.util.find_spec('keras'); import keras",
    ],
    ids=["after", "probed"],
)
def test_a_file_loads_whichever_library_is_imported_first(imports, tmp_path):
    vit(TINY).save(tmp_path / "token.keras")
    in_a_fresh_process(f"{imports}; keras.saving.load_model('token.keras')", tmp_path)


def test_weight_names_and_shapes_are_the_golden_ones():
    # They are what checkpoints are written in. A new name breaks every file of every user: add, never rename.
    models = {"token": vit(TINY, num_classes=3), "conv_map": vit(MAP, num_classes=3)}
    names = {name: {weight.path: list(weight.shape) for weight in model.weights} for name, model in models.items()}
    assert names == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    "config", [TINY, MAP.replace(remat="block", stochastic_depth_rate=0.1)], ids=["token", "conv_map"]
)
def test_fit_lowers_the_loss(config):
    keras.utils.set_random_seed(0)
    labels = np.arange(32) % 2
    images = np.clip(pixels(config, count=32) * 0.5 + 100 * labels[:, None, None, None], 0, 255).astype("uint8")
    model = vit(config, num_classes=2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    history = model.fit(images, labels, batch_size=16, epochs=12, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
