"""ONNX files above protobuf's limit: the weights are in a second file beside them."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import oracle
import pytest

import vit_keras as vk
from vit_keras.errors import StorageError, VerificationError
from vit_keras.exporting.onnx import onnx_format

pytestmark = pytest.mark.any_backend


@pytest.fixture(autouse=True)
def limit(monkeypatch):
    """A limit of 10 kB instead of 2 GiB."""
    monkeypatch.setattr(onnx_format, "LARGEST", 10_000)


def images():
    return np.random.default_rng(3).integers(0, 256, (6, 16, 16, 3)).astype("uint8")


def check_file(path, model, tolerance):
    expected = oracle.vit(vk.model_config(model), oracle.weights_of(model), images())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"images": images()})[0], expected, atol=tolerance)


def names(folder):
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 1e-5),
        ({"precision": "float16"}, 2e-2),
        ({"precision": "int8"}, 0.2),
        ({"precision": "int8", "quantization": "static", "calibration": images()}, 0.2),
    ],
)
def test_its_weights_are_in_a_file_beside_it_under_its_final_name(
    tiny_model, tmp_path, options, tolerance, monkeypatch
):
    if "precision" in options:
        monkeypatch.setattr(onnx_format, "LARGEST", 2_000)
    folder = tmp_path / "a"
    result = vk.export(tiny_model, folder / "pets.onnx", **options)
    assert names(folder) == ["pets.onnx", "pets.onnx.data"]
    data = folder / "pets.onnx.data"
    assert result.size == (folder / "pets.onnx").stat().st_size + data.stat().st_size
    model = onnx.load(folder / "pets.onnx", load_external_data=False)
    outside = [tensor for tensor in model.graph.initializer if tensor.external_data]
    assert {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"} == {
        data.name
    }
    onnx.checker.check_model(str(folder / "pets.onnx"), full_check=True)
    record = json.loads({entry.key: entry.value for entry in model.metadata_props}["verification"])
    assert record["largest_difference"] == result.verification.largest_difference
    shutil.move(folder, tmp_path / "elsewhere")
    check_file(tmp_path / "elsewhere" / "pets.onnx", tiny_model, tolerance)


def test_both_files_are_replaced_or_neither(tiny_model, tmp_path, monkeypatch):
    path, data = tmp_path / "a.onnx", tmp_path / "a.onnx.data"
    data.write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"a.onnx.data exists, where the weights of a large a.onnx would be stored"):
        vk.export(tiny_model, path)
    path.write_bytes(b"mine, too")
    rename = Path.rename

    def fail(self, target):  # at the last of the moves
        if self.name == "a.onnx" and self.parent.name.startswith(".unfinished"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            vk.export(tiny_model, path, overwrite=True)
    assert (names(tmp_path), path.read_bytes(), data.read_bytes()) == (["a.onnx", "a.onnx.data"], b"mine, too", b"mine")

    def fail_always(self, target):  # what was put aside can't be put back either
        if self.parent.name.startswith(".unfinished") or self.parent.name == "replaced":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_always)
        with pytest.raises(StorageError, match="Input/output error"):
            vk.export(tiny_model, path, overwrite=True)
    (kept,) = tmp_path.glob(".unfinished-*/replaced/a.onnx.data")
    assert kept.read_bytes() == b"mine"
    shutil.rmtree(kept.parents[1])
    vk.export(tiny_model, path, overwrite=True)
    assert names(tmp_path) == ["a.onnx", "a.onnx.data"]
    check_file(path, tiny_model, 1e-5)


def test_a_file_that_is_not_kept_leaves_no_data_and_names_the_block(tiny_model, tmp_path, monkeypatch):
    class Full:
        """A file on a disk that is full after some bytes."""

        def __init__(self, file):
            self._file = file

        def __getattr__(self, name):
            return getattr(self._file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._file.close()

        def write(self, content):
            if self._file.tell() > 5_000:
                raise OSError(28, "No space left on device")
            return self._file.write(content)

    opened = Path.open

    def open_full(self, *args, **kwargs):
        file = opened(self, *args, **kwargs)
        return Full(file) if self.suffix == ".data" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        with pytest.raises(StorageError, match=r"a.onnx.data: .*No space left"):
            vk.export(tiny_model, tmp_path / "a.onnx")
    assert names(tmp_path) == []
    moved = onnx_format._move_weights

    def wrong(model, path):
        moved(model, path)
        bias = next(each for each in model.graph.initializer if each.name == "block_01/mlp/expand/kernel")
        place = {entry.key: entry.value for entry in bias.external_data}
        with path.open("r+b") as file:
            file.seek(int(place["offset"]))
            file.write(np.full(64, 9, "float32").tobytes())

    monkeypatch.setattr(onnx_format, "_move_weights", wrong)
    with pytest.raises(VerificationError, match="first block that differs is block_01"):
        vk.export(tiny_model, tmp_path / "a.onnx")
    assert names(tmp_path) == []


def test_a_bundle_has_the_second_file_too(tiny_model, tmp_path):
    vk.export(tiny_model, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.testzip() is None
        file.extractall(tmp_path / "a")
    assert {"model.onnx", "model.onnx.data", "predict.py"} <= {*names(tmp_path / "a")}
    check_file(tmp_path / "a" / "model.onnx", tiny_model, 1e-5)
    result = vk.export(tiny_model, tmp_path / "b.zip", precision="int8")
    assert result.latency_before_ms is not None
    assert names(tmp_path) == ["a", "a.zip", "b.zip"]
