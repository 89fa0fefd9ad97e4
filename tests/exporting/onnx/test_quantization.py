"""Int8 and float16 files: small, close, and refused where they lose too much."""

import numpy as np
import onnx
import onnxruntime
import pytest

import vit_keras as vk
from vit_keras.errors import VerificationError
from vit_keras.exporting import read_record
from vit_keras.exporting.onnx import onnx_format
from vit_keras.exporting.onnx.quantization import choose_float, find_products, relative_error

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    model = vk.vit(CONFIG, num_classes=3)
    for weight in model.weights:
        if not weight.path.endswith(("gamma", "beta")):
            weight.assign(rng.normal(size=weight.shape, scale=0.1))
    return model


@pytest.fixture(scope="module")
def images():
    """Images with low frequencies, as photos have."""
    coarse = np.random.default_rng(1).integers(0, 256, (300, 4, 4, 3))
    return np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2).astype("uint8")


def run_file(path, pixels):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": pixels})[0]


def predict(model, pixels):
    return model.predict(pixels, verbose=0)


@pytest.mark.parametrize("quantization", ["dynamic", "static"])
def test_int8_is_a_quarter_of_the_size_and_close_on_images(model, images, tmp_path, quantization):
    whole = vk.export(model, tmp_path / "whole.onnx")
    result = vk.export(
        model, tmp_path / "small.onnx", precision="int8", quantization=quantization, calibration=images[:64]
    )
    assert result.size < 0.55 * whole.size  # of so small a model, positions and graph are a large part
    assert 0 < result.verification.largest_difference < 0.1 * np.ptp(predict(model, images[:64]))
    assert result.verification.agreement > 0.9
    assert (result.verification.tolerance, result.verification.real_images) == (None, 64)
    assert result.latency_before_ms is not None
    found = onnx.load(tmp_path / "small.onnx")
    assert found.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8  # pixels, as of the float32 file
    assert sum(tensor.data_type == onnx.TensorProto.INT8 for tensor in found.graph.initializer) >= 8
    assert read_record(tmp_path / "small.onnx").precision == "int8"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["small.onnx", "whole.onnx"]


def test_int8_without_images_says_that_it_was_not_checked_on_any(model, tmp_path):
    result = vk.export(model, tmp_path / "a.onnx", precision="int8")
    assert "not checked on images" in str(result)
    assert result.verification.real_images == 0


def test_a_loss_of_accuracy_is_measured_on_labels_and_refused_unless_allowed(model, images, tmp_path, monkeypatch):
    labels = predict(model, images).argmax(axis=1)  # the model is right on every image
    result = vk.export(
        model, tmp_path / "a.onnx", precision="int8", calibration=(images, labels), max_accuracy_loss=0.2
    )
    # The range of activations is that of a batch, so the outputs for an image depend on the others.
    batches = [run_file(tmp_path / "a.onnx", images[first : first + 32]) for first in range(0, len(images), 32)]
    expected = (np.concatenate(batches).argmax(axis=1) == labels).mean()
    check = result.verification
    assert (check.accuracy_before, check.labeled_images) == (1.0, 300)
    assert check.accuracy_after == pytest.approx(expected)

    whole = onnx_format.quantize_dynamic

    def broken(before, after, **options):
        whole(before, after, **options)
        found = onnx.load(after)
        for tensor in found.graph.initializer:
            if tensor.name.startswith("head/kernel") and tensor.data_type == onnx.TensorProto.INT8:
                values = onnx.numpy_helper.to_array(tensor)
                if values.ndim == 2:  # not the zero points
                    tensor.CopyFrom(onnx.numpy_helper.from_array(values[:, ::-1].copy(), tensor.name))
        onnx.save(found, after)

    monkeypatch.setattr(onnx_format, "quantize_dynamic", broken)
    with pytest.raises(VerificationError, match="int8 loses accuracy"):
        vk.export(model, tmp_path / "b.onnx", precision="int8", calibration=(images, labels))
    assert not (tmp_path / "b.onnx").exists()
    vk.export(model, tmp_path / "b.onnx", precision="int8", calibration=(images, labels), max_accuracy_loss=None)
    assert (tmp_path / "b.onnx").exists()


def test_float16_weights_are_half_the_size_and_computed_in_float32(model, images, tmp_path):
    whole = vk.export(model, tmp_path / "whole.onnx")
    result = vk.export(model, tmp_path / "half.onnx", precision="float16", calibration=images[:16])
    assert result.size < 0.7 * whole.size
    found = onnx.load(tmp_path / "half.onnx")
    halves = {tensor.name for tensor in found.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    assert "block_01/mlp/expand/kernel" in halves
    rounded = vk.rebuild(model)
    for weight in rounded.weights:
        array = np.array(weight)
        weight.assign(array.astype("float16").astype("float32") if array.size >= 256 else array)
    np.testing.assert_allclose(run_file(tmp_path / "half.onnx", images[:16]), predict(rounded, images[:16]), atol=1e-3)


def test_a_weight_that_float16_cannot_hold_stays_in_float32(model, tmp_path):
    large = vk.rebuild(model)
    kernel = large.get_layer("head").kernel
    array = np.array(kernel)
    array[0, 0] = 1e5
    kernel.assign(array)
    vk.export(large, tmp_path / "a.onnx", precision="float16")
    types = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert types["block_00/mlp/expand/kernel"] == onnx.TensorProto.FLOAT16
    assert types["head/kernel"] == onnx.TensorProto.FLOAT


def test_layers_are_kept_in_float_by_their_errors_within_a_tenth_of_the_weights():
    sizes = {"stem": 50, "block_00": 400, "block_01": 400, "head": 50}
    assert choose_float({"stem": 0.5, "block_00": 0.001, "block_01": 0.001, "head": 0.001}, sizes) == {"stem"}
    assert choose_float({"stem": 0.001, "block_00": 0.5, "block_01": 0.001, "head": 0.001}, sizes) == set()
    assert choose_float(dict.fromkeys(sizes, 0.001), sizes) == set()
    assert relative_error(np.array([1.0, 3.0]), np.array([1.0, 3.0])) == 0
    assert relative_error(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == pytest.approx(1)


def test_products_of_queries_and_keys_are_not_rounded(model, tmp_path):
    vk.export(model, tmp_path / "a.onnx")
    products = find_products(onnx.load(tmp_path / "a.onnx"))
    assert "block_00/attention/qkv" in products
    assert not [name for name in products if name.endswith(("scores", "attended"))]
    assert len(products) == 4 * CONFIG.num_layers + 2
