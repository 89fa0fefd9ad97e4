"""A quantized model survives a `.keras` file; formats that cannot hold one refuse it before writing."""

import keras
import numpy as np
import oracle
import pytest
from backends import forward, only_elsewhere
from contracts import quantizing

import vit_keras as vk

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=32)
MAP = CONFIG.replace(pooling="map", class_token=False)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("float32")
CONFIGS = {
    "int8": "int8",
    "int4": "int4",
    "float8": "float8",
    "int8_weights_only": keras.quantizers.Int8QuantizationConfig(activation_quantizer=None),
    "int4_in_groups": keras.quantizers.Int4QuantizationConfig(block_size=16),
}


@pytest.fixture(autouse=True)
def quietly():
    with quantizing():
        yield


def quantized(how="int8", config=CONFIG):
    model = oracle.randomize(vk.vit(config, num_classes=3))
    model.quantize(**({"mode": how} if isinstance(how, str) else {"config": how}))
    return model


def outputs(model):
    return keras.ops.convert_to_numpy(forward(model, IMAGES))


def dtypes(model):
    return {weight.path: weight.dtype for weight in model.weights}


@pytest.mark.parametrize("name", only_elsewhere(CONFIGS, "int8"))
def test_a_quantized_model_gives_the_same_outputs_after_a_file(name, tmp_path):
    model = quantized(CONFIGS[name])
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(restored), outputs(model))
    assert dtypes(restored) == dtypes(model)
    assert vk.model_config(restored) == CONFIG


@pytest.mark.any_backend
def test_a_quantized_model_survives_a_second_file_a_clone_and_a_config(tmp_path):
    model = quantized(config=MAP)
    for name in ("once", "twice"):
        model.save(tmp_path / f"{name}.keras")
        model = keras.saving.load_model(tmp_path / f"{name}.keras")
    for copy in (keras.models.clone_model(model), type(model).from_config(model.get_config())):
        assert dtypes(copy) == dtypes(model)
        copy.set_weights(model.get_weights())
        np.testing.assert_array_equal(outputs(copy), outputs(model))


def test_a_quantized_model_in_mixed_precision_survives_a_file(tmp_path):
    model = vk.rebuild(oracle.randomize(vk.vit(CONFIG, num_classes=3)), dtype_policy="mixed_bfloat16")
    model.quantize("int8")
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(restored), outputs(model))
    expand = restored.get_layer("block_00").mlp.expand
    assert (expand.dtype_policy.name, expand.compute_dtype) == ("int8_from_mixed_bfloat16", "bfloat16")


@pytest.mark.any_backend
def test_a_model_with_some_quantized_layers_survives_a_file(tmp_path):
    model = vk.vit(CONFIG, num_classes=3)
    model.quantize("int8", filters="^(qkv|expand)$")
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    int8_weights = [weight.path for weight in restored.weights if weight.dtype == "int8"]
    assert int8_weights == ["block_00/attention/qkv/kernel", "block_00/mlp/expand/kernel"]


@pytest.mark.any_backend
def test_what_needs_floating_point_weights_refuses_quantized_ones_before_anything_is_written(tmp_path):
    model, error = quantized(), vk.errors.InvalidArgumentError
    with pytest.raises(error, match=r"save_preset needs floating-point weights.*int8.*\.keras"):
        vk.save_preset(model, tmp_path / "mine")
    assert not list(tmp_path.iterdir())
    with pytest.raises(error, match="rebuild needs floating-point weights"):
        vk.rebuild(model, stochastic_depth_rate=0.1)
    adapted = vk.training.add_lora(model, rank=2)
    np.testing.assert_array_equal(outputs(adapted), outputs(model))
    with pytest.raises(error, match="merge_lora needs floating-point weights"):
        vk.training.merge_lora(adapted)
