"""`vk.export`: what a user gets, and what is left where it fails."""

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import oracle
import pytest
from contracts import quantizing

import vit_keras as vk
from vit_keras.errors import DataError, InvalidArgumentError, StorageError, VerificationError
from vit_keras.exporting import ExportRecord, read_record
from vit_keras.exporting.onnx import writer


def images(count=6, size=16, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype("uint8")


def run_file(path, pixels):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": pixels})[0]


def same_as_numpy(path, model, pixels, tolerance=1e-5):
    expected = oracle.vit(vk.model_config(model), oracle.weights_of(model), pixels)
    np.testing.assert_allclose(run_file(path, pixels), expected, rtol=tolerance, atol=tolerance)


def test_a_model_in_memory_is_written_checked_and_described(tiny_model, tmp_path):
    path = tmp_path / "new" / "tiny.onnx"
    result = vk.export(tiny_model, str(path), calibration=images())
    assert (result.path, result.format, result.precision, result.size) == (path, "onnx", "float32", path.stat().st_size)
    check = result.verification
    assert check.largest_difference <= check.tolerance < 1e-2
    assert (check.images, check.real_images, check.agreement, check.batch_sizes) == (14, 6, 1.0, (1, 2, 5, 6))
    for words in ("tiny.onnx", "onnx, float32", "14 images (6 of yours)", "100.00 %", "ms per image"):
        assert words in str(result)
        assert words in result._repr_html_()
    same_as_numpy(path, tiny_model, images())
    assert [each.name for each in path.parent.iterdir()] == ["tiny.onnx"]
    json.dumps(result.to_dict())


def test_all_that_is_needed_to_use_it_travels_in_the_file(tiny_preset, tmp_path):
    vk.export(tiny_preset, tmp_path / "a.onnx", softmax=True)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert json.loads(metadata["class_names"]) == ["cat", "dog", "owl"]
    assert json.loads(metadata["preprocessing"]) == vk.load_preprocessing(tiny_preset).to_dict()
    assert (metadata["output"], metadata["color_order"], metadata["layout"]) == ("probabilities", "RGB", "NHWC")
    assert json.loads(metadata["verification"])["largest_difference"] < 1e-4
    record = read_record(tmp_path / "a.onnx")
    assert record.versions["vit_keras"] == vk.__version__
    assert vk.ViTConfig.from_dict(record.config) == vk.model_config(vk.from_preset(tiny_preset))
    probabilities = run_file(tmp_path / "a.onnx", images())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_names_with_control_characters_and_broken_unicode_come_back_as_they_are(tiny_model, tmp_path):
    names = ("line\nbreak", "\x1b[31mred\x00", "half a pair \udcff")
    preset = vk.save_preset(tiny_model, tmp_path / "preset", class_names=["a", "b", "c"])
    (preset / "labels.json").write_text(json.dumps(names))
    vk.export(preset, tmp_path / "a.onnx")
    assert read_record(tmp_path / "a.onnx").class_names == names


def test_a_record_says_where_preset_license_and_data_come_from(tiny_preset, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_preset, run / "model")
    name = "vit_small_patch16_224"
    tag, checkpoint = next(iter(vk.load_preset(name).weights.items()))
    saved = {"options": {"model": name, "weights": tag}, "data": {"name": "pets", "fingerprint": "abc", "images": 3}}
    (run / "run.json").write_text(json.dumps(saved))
    vk.export(run, tmp_path / "a.onnx")
    record = read_record(tmp_path / "a.onnx")
    assert (record.preset, record.license) == (f"{name}:{tag}", checkpoint.license)
    assert record.data == {"name": "pets", "fingerprint": "abc"}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(tiny_config, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = oracle.randomize(vk.vit(tiny_config, num_classes=3))
    finally:
        keras.config.set_dtype_policy("float32")
    vk.export(model, tmp_path / "a.onnx")
    same_as_numpy(tmp_path / "a.onnx", model, images())


def test_lora_matrices_are_merged_and_own_layers_and_nested_models_exported(tiny_model, tmp_path):
    adapted = oracle.randomize(vk.training.add_lora(tiny_model, rank=2, targets=["query", "output", "expand"]))
    vk.export(adapted, tmp_path / "lora.onnx")
    expected = adapted.predict(images(), verbose=0)
    np.testing.assert_allclose(run_file(tmp_path / "lora.onnx", images()), expected, rtol=1e-4, atol=1e-4)

    body = vk.rebuild(tiny_model, num_classes=0)
    layers = [
        keras.layers.LayerNormalization(), keras.layers.Dense(9, activation="elu"), keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5), keras.layers.LeakyReLU(0.1), keras.layers.Dense(4), keras.layers.Softmax(),
    ]  # fmt: skip
    nested = oracle.randomize(keras.Sequential([keras.Input((16, 16, 3)), body, *layers]))
    vk.export(nested, tmp_path / "own.onnx")
    expected = nested.predict(images(), verbose=0)
    np.testing.assert_allclose(run_file(tmp_path / "own.onnx", images()), expected, rtol=1e-4, atol=1e-5)


def test_a_model_quantized_by_keras_is_exported_as_its_weights_say(tiny_config, tmp_path):
    model = oracle.randomize(vk.vit(tiny_config, num_classes=3))
    with quantizing():
        model.quantize("int8")
    vk.export(model, tmp_path / "a.onnx")
    found, expected = run_file(tmp_path / "a.onnx", images()), model.predict(images(), verbose=0)
    assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)


@pytest.mark.parametrize(("task", "softmax"), [("multi_label", True), ("multi_label", False), ("regression", False)])
def test_other_tasks(tiny_config, tmp_path, task, softmax):
    model = oracle.randomize(vk.vit(tiny_config, num_classes=3))
    model.task, model.threshold, model.class_names = task, 0.3 if task == "multi_label" else None, ("a", "b", "c")
    result = vk.export(model, tmp_path / "a.onnx", softmax=softmax, calibration=images())
    record = read_record(tmp_path / "a.onnx")
    logits = oracle.vit(tiny_config, oracle.weights_of(model), images())
    expected = 1 / (1 + np.exp(-logits)) if softmax else logits
    np.testing.assert_allclose(run_file(tmp_path / "a.onnx", images()), expected, rtol=1e-5, atol=1e-5)
    kind = "numbers" if task == "regression" else "probabilities" if softmax else "logits"
    assert (record.task, record.threshold, record.output) == (task, model.threshold, kind)
    assert result.verification.agreement == (None if task == "regression" else 1.0)
    if task == "regression":
        with pytest.raises(InvalidArgumentError, match="numbers of a regression"):
            vk.export(model, tmp_path / "b.onnx", softmax=True)


def test_any_image_size_on_request_gives_what_a_rebuilt_model_gives(tiny_model, tmp_path):
    vk.export(tiny_model, tmp_path / "a.onnx", dynamic_image_size=True)
    for size in ((24, 40), (8, 16)):
        pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype("uint8")
        rebuilt = vk.rebuild(tiny_model, image_size=size)
        expected = oracle.vit(vk.model_config(rebuilt), oracle.weights_of(rebuilt), pixels)
        np.testing.assert_allclose(run_file(tmp_path / "a.onnx", pixels), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["keras", "safetensors", "preset", "timm", "huggingface"])
def test_checkpoints_are_formats_too_and_read_again(tiny_preset, tiny_model, tmp_path, name):
    path = tmp_path / ("model" + {"keras": ".keras", "safetensors": ".safetensors"}.get(name, ""))
    result = vk.export(tiny_preset, path, format=name)
    assert result.verification.largest_difference < 1e-5
    if name != "safetensors":
        loaded = vk.load_model(path)
        assert loaded.class_names == ("cat", "dog", "owl")
        np.testing.assert_allclose(
            *(keras.ops.convert_to_numpy(each(images())) for each in (loaded, tiny_model)), atol=1e-5
        )
    if name in ("timm", "huggingface"):
        with pytest.raises(InvalidArgumentError, match="does not have this"):
            vk.export(tiny_preset, tmp_path / "b", format=name, softmax=True)
        with pytest.raises(InvalidArgumentError, match="end in logits"):
            vk.export(vk.rebuild(tiny_model, classifier_activation="softmax"), tmp_path / "b", format=name)


def test_weights_for_keras_are_loaded_by_keras_and_refused_where_they_are_wrong(tiny_preset, tiny_model, tmp_path):
    path = tmp_path / "pets.weights.h5"
    assert vk.export(tiny_preset, path).format == "weights"
    loaded = vk.vit(vk.model_config(tiny_model), num_classes=3)
    loaded.load_weights(path)
    for weight, expected in zip(loaded.weights, tiny_model.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (weight, expected)))
    for name in ("pets.h5", ".weights.h5"):
        with pytest.raises(InvalidArgumentError, match="says no format"):
            vk.export(tiny_preset, tmp_path / name)
    with pytest.raises(InvalidArgumentError, match=r"must end in \.weights\.h5"):
        vk.export(tiny_preset, tmp_path / "pets", format="weights")


def test_a_file_that_computes_something_else_does_not_appear_and_the_first_wrong_block_is_named(
    tiny_model, tmp_path, monkeypatch
):
    write = writer.add_block

    @functools.wraps(write)
    def wrong(graph, name, inputs, **arguments):
        if name == "block_01":
            graph.weights = {
                **graph.weights,
                "block_01/mlp/contract/bias": graph.weights["block_01/mlp/contract/bias"]
                + np.float32(0.1) * np.eye(16, dtype="float32")[3],
            }
        return write(graph, name, inputs, **arguments)

    monkeypatch.setitem(writer._ADDERS, vk.layers.TransformerBlock, wrong)
    (tmp_path / "a.onnx").write_bytes(b"mine")
    with pytest.raises(VerificationError, match=r"first block that differs is block_01, by 0\.1") as raised:
        vk.export(tiny_model, tmp_path / "a.onnx", overwrite=True)
    assert "it was not kept" in str(raised.value)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.onnx", b"mine")]


def test_where_all_logits_are_equal_the_difference_is_absolute(tiny_config, tmp_path):
    model = vk.vit(tiny_config, num_classes=3)  # its head is zero
    result = vk.export(model, tmp_path / "a.onnx")
    assert result.verification.tolerance == pytest.approx(1e-4)
    assert result.verification.largest_difference == 0


def test_bad_arguments_are_refused_before_any_work(tiny_model, tmp_path):
    for keywords, words in (
        ({"path": "a.pdf"}, "the ending '.pdf' says no format"),
        ({"path": "a"}, "a name without an ending says no format"),
        ({"path": "a.onnx", "format": "keras"}, "has the ending of the format 'onnx'"),
        ({"path": "a", "format": "onnx"}, r"must end in \.onnx"),
        ({"path": "a", "format": "onyx"}, "did you mean 'onnx'"),
        ({"path": "a.onnx", "precision": "int4"}, "precision='int4' is none of float32, float16, int8"),
        ({"path": "a.keras", "precision": "int8"}, "the format 'keras' has float32"),
        ({"path": "a.onnx", "opset": 13, "outputs": ["tokens", "tokens"]}, "opset=13 .*; outputs="),
        ({"path": "a.onnx", "quantization": "static"}, 'needs precision="int8"'),
        ({"path": "a.onnx", "max_accuracy_loss": -1}, "max_accuracy_loss=-1"),
        ({"path": "a.keras", "outputs": ["attention"]}, "outputs: the format 'keras' does not have this"),
    ):
        with pytest.raises(InvalidArgumentError, match=words):
            vk.export(tiny_model, tmp_path / keywords.pop("path"), **keywords)
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    with pytest.raises(InvalidArgumentError, match="was not made by vit_keras"):
        vk.export(other, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_images_to_check_on_that_are_none_or_of_another_size_get_a_clear_answer(tiny_model, tmp_path):
    for calibration, error, words in (
        ([], InvalidArgumentError, "no images"),
        ((images(0), np.zeros(0, "int32")), InvalidArgumentError, "no images"),
        (
            vk.data.Split(images(3, size=24), np.zeros(3, "int32")),
            InvalidArgumentError,
            r"\(24, 24, 3\) .* \(16, 16, 3\)",
        ),
        (np.zeros((2, 16, 16, 5), "uint8"), InvalidArgumentError, "not an image"),
    ):
        with pytest.raises(error, match=words):
            vk.export(tiny_model, tmp_path / "a.onnx", calibration=calibration)
    with pytest.raises(DataError, match="calibration="):
        vk.export(tiny_model, tmp_path / "a.onnx", precision="int8", quantization="static")
    assert list(tmp_path.iterdir()) == []
    other_size = images(3, size=24)  # plain images are resized, as vk.predict does
    assert vk.export(tiny_model, tmp_path / "a.onnx", calibration=other_size).verification.real_images == 3


def test_nothing_is_overwritten_unless_asked_for(tiny_model, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match="nothing is overwritten"):
        vk.export(tiny_model, path)
    assert path.read_bytes() == b"mine"
    vk.export(tiny_model, path, overwrite=True)
    same_as_numpy(path, tiny_model, images())


def test_a_full_disk_leaves_nothing_and_keeps_the_earlier_file(tiny_model, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.onnx"
    path.write_bytes(b"mine")
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StorageError, match=r"/a.onnx: could not be written .*No space left") as raised:
        vk.export(tiny_model, path, overwrite=True)
    assert ".unfinished" not in str(raised.value)

    def full_inside(self, job, path):
        raise StorageError(f"{path}: could not be written") from OSError(28, "No space left on device")

    monkeypatch.setattr("vit_keras.exporting.checkpoints.KerasFormat.write", full_inside)
    with pytest.raises(StorageError, match=r"/new/folder/a.keras: could not be written .*No space left") as raised:
        vk.export(tiny_model, tmp_path / "new" / "folder" / "a.keras")
    assert ".unfinished" not in str(raised.value)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.onnx", b"mine")]


def test_a_folder_that_is_a_file_is_refused(tiny_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written to"):
        vk.export(tiny_model, tmp_path / "file" / "a.onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_said_before_any_work(tiny_model, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="can't be written to"):
            vk.export(tiny_model, tmp_path / "a.onnx")
    finally:
        tmp_path.chmod(0o700)


def test_a_missing_package_is_answered_with_the_one_command(tiny_model, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(InvalidArgumentError, match=r"needs onnxruntime, .* run pip install 'vit-keras-zoo\[export\]'"):
        vk.export(tiny_model, tmp_path / "a.onnx")


@pytest.mark.slow
def test_a_file_is_written_where_tensorflow_is_not_installed_and_runs_without_vit_keras(
    tiny_model, tiny_preset, tmp_path
):
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name in ('tensorflow', 'torch'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import vit_keras as vk\n"
        f"vk.export({str(tiny_preset)!r}, {str(tmp_path / 'a.onnx')!r})"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    np.save(tmp_path / "images.npy", images())
    code = (
        "import sys, numpy as np, onnxruntime as ort\n"
        f"session = ort.InferenceSession({str(tmp_path / 'a.onnx')!r})\n"
        f"np.save({str(tmp_path / 'out.npy')!r}, session.run(None, {{'images': np.load({str(tmp_path / 'images.npy')!r})}})[0])\n"
        "assert not {'vit_keras', 'keras'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = oracle.vit(vk.model_config(tiny_model), oracle.weights_of(tiny_model), images())
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-5, atol=1e-5)


def test_the_record_of_a_later_version_is_read_and_a_broken_one_refused():
    record = ExportRecord(format="onnx", preprocessing={}, config={}, output="logits", class_names=("a", "b"))
    later = json.dumps({**json.loads(record.to_json()), "added_later": 1})
    assert ExportRecord.from_json(later) == record
    for text in ("{", "[]", '{"format": "onnx"}'):
        with pytest.raises(vk.errors.CorruptFileError, match="not the record"):
            ExportRecord.from_json(text)
