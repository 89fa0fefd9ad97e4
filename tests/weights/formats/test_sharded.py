"""A sharded checkpoint is read as one file; its index may name only its own files."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from vit_keras.errors import CorruptFileError, StorageError, UnsafeFileError, VitKerasError
from vit_keras.weights import open_tensors

FIRST, SECOND = "m-1.safetensors", "m-2.safetensors"


def write_shards(folder, shards: dict[str, str], weight_map: dict[str, str]) -> None:
    """Writes shards, each with one-letter tensors, and an index."""
    for index, (name, tensors) in enumerate(shards.items()):
        save_file({tensor: np.full(2, index, "float32") for tensor in tensors}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_read_as_one_file(tmp_path):
    write_shards(tmp_path, {FIRST: "ab", SECOND: "c"}, {"a": FIRST, "b": FIRST, "c": SECOND})
    with open_tensors(tmp_path) as file:
        assert {name: file.read(name)[0] for name in file.tensors} == {"a": 0, "b": 0, "c": 1}


@pytest.mark.parametrize(
    "name", ["../m-1.safetensors", "/etc/m.safetensors", "..", "a\\m.safetensors", "C:m.safetensors", ".m.safetensors",
             "m-1.bin", "", "a/m.safetensors", "m\n.safetensors"],
)  # fmt: skip
def test_a21_an_index_names_only_files_in_its_folder(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": np.ones(2)}, tmp_path / FIRST)
    write_shards(folder, {}, {"a": name})
    with pytest.raises(UnsafeFileError, match="in the folder of their index"):
        open_tensors(folder)


@pytest.mark.parametrize(
    ("weight_map", "second", "message"),
    [
        ({"a": FIRST}, "c", "first 'b', which should be in no file"),
        ({"a": FIRST, "b": SECOND, "c": SECOND}, "c", "first 'b', which should be in m-2"),
        ({"a": FIRST, "b": FIRST, "d": FIRST}, "c", "first 'd', which is missing"),
        ({"a": FIRST, "b": FIRST, "c": SECOND}, "bc", r"first 'b', which should be in m-1\.safetensors"),
    ],
)
def test_a21_an_index_that_contradicts_its_shards_or_lacks_one_is_refused(tmp_path, weight_map, second, message):
    write_shards(tmp_path, {FIRST: "ab", SECOND: second}, weight_map)
    with pytest.raises(CorruptFileError, match=f"differ from the index.*{message}"):
        open_tensors(tmp_path)
    (tmp_path / FIRST).unlink()
    with pytest.raises(StorageError, match=r"m-1\.safetensors"):
        open_tensors(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": {"a": 1}}', b"[" * 100_000, b"\xff\xfe",
             b'{"weight_map": {"a": "m.safetensors", "a": "n.safetensors"}}'],
)  # fmt: skip
def test_a21_an_illegal_index_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_bytes(text)
    with pytest.raises(VitKerasError):
        open_tensors(tmp_path)
