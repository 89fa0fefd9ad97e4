"""A LiteRT file computes what the model does, with LiteRT's own operators, and takes pixels in every precision."""

import json
import zipfile

import keras
import numpy as np
import oracle
import pytest

import vit_keras as vk
from vit_keras.exporting.litert import LiteRTRuntime

CONFIG = vk.ViTConfig(image_size=32, patch_size=8, hidden_dim=64, num_layers=2, num_heads=4, mlp_dim=128)


def make_model(config=CONFIG, num_classes=3):
    keras.utils.set_random_seed(0)  # of the initial weights, which decide what rounding costs
    return oracle.randomize(vk.vit(config, num_classes=num_classes))


def images_of(config, count):
    return np.random.default_rng(1).integers(0, 256, (count, *config.image_size, config.channels), "uint8")


def outputs_of(model, images):
    return keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))


def test_it_runs_in_its_own_runtime_for_every_batch_size_and_says_what_it_is(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model = make_model()
    model.class_names = ("cat", "dog", "owl")
    result = vk.export(model, tmp_path / "pets.tflite")
    images = images_of(CONFIG, 7)
    expected = outputs_of(model, images)
    runtime = LiteRTRuntime(result.path)
    for count in (7, 1, 3):
        np.testing.assert_allclose(runtime(images[:count]), expected[:count], atol=1e-5)
    # As users run it, by its signature.
    runner = Interpreter(model_path=str(result.path)).get_signature_runner("serving_default")
    np.testing.assert_allclose(runner(images=images[:1])["logits"], expected[:1], atol=1e-5)
    with zipfile.ZipFile(result.path) as archive:
        record = json.loads(archive.read("export.json"))
        assert archive.read("labels.txt").decode().split() == ["cat", "dog", "owl"]
    assert record["class_names"] == ["cat", "dog", "owl"]
    assert record["verification"]["largest_difference"] == result.verification.largest_difference


@pytest.mark.slow
def test_float16_halves_the_file_and_int8_quarters_it(convert_here, tmp_path):
    config = CONFIG.replace(hidden_dim=128, mlp_dim=512)
    model, images = make_model(config), images_of(config, 100)
    sizes = {}
    for precision in ("float32", "float16", "int8"):
        result = vk.export(model, tmp_path / f"{precision}.tflite", precision=precision, calibration=images)
        sizes[precision] = result.size
        assert result.verification.agreement >= 0.95
    weights = 4 * model.count_params()
    assert sizes["float32"] == pytest.approx(weights, rel=0.1)
    assert sizes["float16"] == pytest.approx(weights / 2, rel=0.15)
    assert sizes["int8"] == pytest.approx(weights / 4, rel=0.3)


@pytest.mark.slow
def test_static_int8_takes_pixels_and_needs_images(convert_here, tmp_path):
    model = make_model()
    with pytest.raises(vk.errors.DataError, match="calibration="):
        vk.export(model, tmp_path / "pets.tflite", precision="int8", quantization="static")
    assert not list(tmp_path.iterdir())
    brightness = np.linspace(0.05, 1, 50)[:, None, None, None]
    images = (images_of(CONFIG, 50) * brightness).astype("uint8")
    result = vk.export(model, tmp_path / "pets.tflite", precision="int8", quantization="static", calibration=images)
    assert result.latency_before_ms is not None
    assert [each.name for each in tmp_path.iterdir()] == ["pets.tflite"]
    found, expected = LiteRTRuntime(result.path)(images), outputs_of(model, images)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_a_half_precision_model_is_converted_in_float32(policy, convert_here, tmp_path):
    model = make_model()
    half = vk.rebuild(model, dtype_policy=policy)
    result = vk.export(half, tmp_path / "pets.tflite")
    images = images_of(CONFIG, 2)
    rounded = vk.rebuild(half, dtype_policy="float32")  # the weights that a bfloat16 policy has rounded
    np.testing.assert_allclose(LiteRTRuntime(result.path)(images), outputs_of(rounded, images), atol=1e-5)


@pytest.mark.slow
def test_lora_matrices_are_merged_and_quantized_weights_multiplied_out(convert_here, tmp_path):
    adapted = oracle.randomize(vk.training.add_lora(make_model(), rank=2))
    images = images_of(CONFIG, 2)
    result = vk.export(adapted, tmp_path / "lora.tflite")
    np.testing.assert_allclose(LiteRTRuntime(result.path)(images), outputs_of(adapted, images), atol=1e-5)


@pytest.mark.slow
def test_a_model_for_every_image_size_is_converted_for_its_own(convert_here, tmp_path):
    model = make_model(CONFIG.replace(dynamic_image_size=True))
    result = vk.export(model, tmp_path / "pets.tflite")
    images = images_of(CONFIG, 2)
    np.testing.assert_allclose(LiteRTRuntime(result.path)(images), outputs_of(model, images), atol=1e-5)


@pytest.mark.slow
def test_a_real_size_is_converted_in_float32_and_int8(convert_here, tmp_path):
    model = oracle.randomize(vk.from_preset("vit_small_patch16_224", num_classes=1000, num_layers=4))
    images = np.random.default_rng(5).integers(0, 256, (4, 224, 224, 3), "uint8")
    result = vk.export(model, tmp_path / "small.tflite", calibration=images)
    assert result.size == pytest.approx(4 * model.count_params(), rel=0.01)
    small = vk.export(model, tmp_path / "small_int8.tflite", precision="int8", calibration=images)
    assert small.size < result.size / 3.7
