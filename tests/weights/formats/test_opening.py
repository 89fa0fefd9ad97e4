"""A file is opened by its content, and unsafe or damaged files are refused by our own errors.

Tests named `a..` are rows of the table of bad inputs that every reader of weights must refuse.
"""

import io
import json
import os
import pickle
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file
from weights.checkpoints import npy_bytes, npz_bytes

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError, VitKerasError
from vit_keras.weights import open_tensors
from vit_keras.weights.formats.npz import SMALL


class Marker:
    """A pickle that creates a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def read_all(path) -> dict[str, np.ndarray]:
    with open_tensors(path) as file:
        return {name: file.read(name) for name in file.tensors}


def test_a_header_that_starts_like_a_pickle_is_a_header(tmp_path):
    content = save({"a": np.ones(1, "float32")}, metadata={"note": "x" * 500})
    length = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + length] + b" " * (0x280 - length)  # little-endian 80 02, a pickle's first two bytes
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    assert read_all(tmp_path / "x.safetensors")["a"] == 1


def test_a_directory_stands_for_the_model_in_it_and_a_file_without_a_suffix_is_opened_by_its_content(tmp_path):
    with pytest.raises(StorageError, match=r"neither model\.safetensors nor"):
        open_tensors(tmp_path)
    for name, path in (("model.safetensors", tmp_path), ("blob", tmp_path / "blob")):
        save_file({"a": np.ones(2)}, tmp_path / name)
        assert read_all(path).keys() == {"a"}


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pkl", ".joblib", ".PTH"])
def test_a01_pickles_are_refused_by_their_suffix_with_a_way_out(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Marker(tmp_path / "ran"), protocol=0))  # has no magic bytes
    with pytest.raises(UnsafeFileError, match=r"(?s)this is a pickle.*safetensors\.torch\.save_file"):
        open_tensors(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["before torch 1.6", "a whole module"])
def test_the_three_lines_of_the_error_turn_a_pickle_of_torch_into_safetensors(tmp_path, kind):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(3, 2)
    path = tmp_path / "old.pth"
    if kind == "a whole module":
        torch.save(module, path)
    else:
        tensors = {"weight": module.weight.data, "bias": module.bias.data, "tied": module.weight.data.T}
        torch.save({"model": tensors}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeFileError) as caught:
        open_tensors(path)
    lines = "\n".join(str(caught.value).splitlines()[1:])
    assert "weights_only=True" in lines
    exec(lines.replace("weights_only=True", f"weights_only={kind != 'a whole module'}"), {})
    found = read_all(tmp_path / "old.safetensors")
    np.testing.assert_array_equal(found["weight"], module.weight.data.numpy())
    np.testing.assert_array_equal(found["bias"], module.bias.data.numpy())
    if "tied" in found:
        np.testing.assert_array_equal(found["tied"], module.weight.data.numpy().T)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ""])
@pytest.mark.parametrize("kind", [2, 5, "torch"])
def test_a02_a_renamed_pickle_is_refused_by_its_content(tmp_path, suffix, kind):
    content = pickle.dumps(Marker(tmp_path / "ran"), protocol=2 if kind == "torch" else kind)
    path = tmp_path / f"model{suffix}"
    path.write_bytes(npz_bytes({"archive/data.pkl": content}) if kind == "torch" else content)
    with pytest.raises(UnsafeFileError, match=r"a pickle|its pickle names 'io\.open'"):
        open_tensors(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", save({"a": np.ones(2)}), r"\.npz, but inside it is a \.safetensors"),
        ("x.npz", b"<html>Sign in</html>", "a web page"),
        ("x", b"<html>Sign in</html>", "a web page"),
        ("x", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("x.npz", b"", "unknown kind"),
    ],
)
def test_other_content_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((CorruptFileError, InvalidArgumentError), match=message):
        open_tensors(tmp_path / name)


def test_a03_an_array_of_objects_is_refused_and_nothing_runs(tmp_path):
    np.savez(tmp_path / "x.npz", good=np.ones(2), bad=np.array([Marker(tmp_path / "ran")], object))
    with pytest.raises(UnsafeFileError, match=r"bad\.npy holds Python objects"):
        open_tensors(tmp_path / "x.npz")
    assert not (tmp_path / "ran").exists()


def keras_model() -> bytes:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x)])
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        return Path(folder, "model.keras").read_bytes()


KERAS = {"an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100), "a Keras model": keras_model()}


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.weights.h5", "x.hdf5", "X.H5"])
def test_a27_a28_a29_keras_files_are_refused_by_their_suffix_with_a_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    message = r"can run code.*load it with Keras.*save_preset or vit_keras\.weights\.write"
    with pytest.raises(UnsafeFileError, match=message):
        open_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz", "model"])
@pytest.mark.parametrize("kind", KERAS)
def test_a27_a28_a29_renamed_keras_files_are_refused_by_their_content(tmp_path, name, kind):
    (tmp_path / name).write_bytes(KERAS[kind])
    with pytest.raises(UnsafeFileError, match=f"this is {kind}.*can run code.*load it with Keras"):
        open_tensors(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a30_pipes_devices_and_broken_links_are_refused(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    for path in (tmp_path / "x.safetensors", os.devnull):
        with pytest.raises(InvalidArgumentError, match="no regular file"):
            open_tensors(path)
    (tmp_path / "y.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(StorageError, match="no such file"):
        open_tensors(tmp_path / "y.safetensors")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a30_a_file_without_read_permission_is_a_storage_error(tmp_path):
    save_file({"a": np.ones(2)}, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").chmod(0)
    with pytest.raises(StorageError):
        open_tensors(tmp_path / "x.safetensors")


MEMBERS = {
    "a/b.npy": npy_bytes(np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)),
    "c.npy": npy_bytes(np.ones(3, "V2")),
}


def torch_file() -> dict[str, bytes]:
    """Returns a file of torch.save, where torch is installed."""
    try:
        import torch
    except ImportError:
        return {}
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3, 4), "b": {"c": torch.ones(3).half()}}, buffer)
    return {"x.pt": buffer.getvalue()}


GOOD_FILES = {
    "x.safetensors": save({"a/b": np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4), "c": np.ones(3, "float16")}),
    "x.npz": npz_bytes(MEMBERS),
    "y.npz": npz_bytes(MEMBERS, zipfile.ZIP_DEFLATED),
    **torch_file(),
}


@pytest.mark.parametrize("name", GOOD_FILES)
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_by_our_errors_alone(tmp_path, name, data):
    content = bytearray(GOOD_FILES[name])
    for _ in range(data.draw(st.integers(1, 3), label="damages")):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)), label="place")
        new = data.draw(st.binary(max_size=9), label="new")
        cut = data.draw(st.integers(0, 9), label="cut")
        content[place : place + cut] = new
    if data.draw(st.booleans(), label="truncated"):
        del content[data.draw(st.integers(0, len(content)), label="rest") :]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        read_all(path)
    except VitKerasError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2 * SMALL


def test_one_shard_stands_for_all_and_is_named_without_its_index(tmp_path):
    for number in (1, 2):
        save_file({f"w{number}": np.full(2, number)}, tmp_path / f"model-0000{number}-of-00002.safetensors")
    shard = tmp_path / "model-00002-of-00002.safetensors"
    with pytest.raises(
        StorageError, match=r"one of 2 files of a checkpoint, whose index model\.safetensors\.index\.json"
    ):
        open_tensors(shard)
    index = {"weight_map": {f"w{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_all(shard).keys() == {"w1", "w2"}
    save_file({"all": np.ones(2)}, tmp_path / "x-00001-of-00001.safetensors")
    assert read_all(tmp_path / "x-00001-of-00001.safetensors").keys() == {"all"}


@pytest.mark.parametrize(
    "name", ["open_clip_model.safetensors", "model.fp16.safetensors", "weights.npz", "pytorch_model.bin", "last.ckpt"]
)
def test_a_folder_with_one_file_of_weights_by_another_name_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(GOOD_FILES["x.npz" if name.endswith("npz") else "x.safetensors"])
    (tmp_path / "config.json").write_text("{}")
    assert read_all(tmp_path).keys() == {"a/b", "c"}
    save_file({"standard": np.ones(2)}, tmp_path / "model.safetensors")
    assert read_all(tmp_path).keys() == {"standard"}


@pytest.mark.parametrize(
    ("name", "hint"), [("pytorch_model.bin.index.json", "save_pretrained"), ("model.weights.json", "save_to_preset")]
)
def test_a_folder_of_split_files_that_are_not_read_says_what_to_do(tmp_path, name, hint):
    for each in (name, "config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"):
        (tmp_path / each).write_bytes(b"{}")
    with pytest.raises(
        InvalidArgumentError, match=rf"split into several files, of which {name} is the list\. Write them.*{hint}"
    ):
        open_tensors(tmp_path)


def test_a_folder_with_several_checkpoints_or_none_says_what_it_has(tmp_path):
    (tmp_path / "events.out").write_bytes(b"")
    with pytest.raises(StorageError, match=r"nor another \.safetensors or \.npz; it has events\.out"):
        open_tensors(tmp_path)
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(StorageError, match=r"give the path of one of its a\.pth, b\.pth"):
        open_tensors(tmp_path)
    for name in ("b.safetensors", "a.safetensors"):
        save_file({"x": np.ones(2)}, tmp_path / name)
    with pytest.raises(InvalidArgumentError, match=r"give the path of one: a\.safetensors, b\.safetensors"):
        open_tensors(tmp_path)
