"""The readers of files: what is whole comes back to the bit, what is not is refused by one of our errors alone.

Tests named `a..` are rows of the table of bad inputs that every reader of weights is held to.
"""

import io
import json
import os
import pickle
import struct
import time
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file
from weights.checkpoints import safetensors_bytes

from vit_keras.errors import (
    CorruptFileError,
    InvalidArgumentError,
    StorageError,
    UnsafeFileError,
    VitKerasError,
    WeightMismatchError,
)
from vit_keras.weights import open_tensors
from vit_keras.weights.formats import npz as npz_file

DTYPES = ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "uint8", "bool"]
ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


class Marker:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def npy(array: np.ndarray, **keywords: object) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), **keywords)
    return buffer.getvalue()


def npz(path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


def npy_with_header(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def read_all(path) -> dict[str, np.ndarray]:
    with open_tensors(path) as file:
        return {name: file.read(name) for name in file.tensors}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_safetensors_come_back_to_the_bit(tmp_path, dtype, shape):
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    save_file({"a": array, "b": array.copy()}, tmp_path / "x.safetensors")
    for read in read_all(tmp_path / "x.safetensors").values():
        assert read.dtype == array.dtype
        assert read.shape == shape
        assert read.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [*DTYPES, ">f4"])
@pytest.mark.parametrize("compress", [False, True])
def test_npz_comes_back_to_the_bit(tmp_path, dtype, compress):
    array = np.arange(24).reshape(4, 6).astype(dtype)
    (np.savez_compressed if compress else np.savez)(
        tmp_path / "x.npz", **{"a/kernel": array, "f": np.asfortranarray(array)}
    )
    read = read_all(tmp_path / "x.npz")
    for name in ("a/kernel", "f"):
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype.newbyteorder("=")


def test_bfloat16_that_npz_holds_as_nothing_in_particular_is_known(tmp_path):
    array = np.arange(6).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "x.npz", a=array.view("V2"))
    with open_tensors(tmp_path / "x.npz") as file:
        assert file.tensors["a"].dtype == "bfloat16"
        np.testing.assert_array_equal(file.read("a"), array)


def test_a_file_without_an_ending_is_known_by_what_is_in_it(tmp_path):
    save_file({"a": np.ones(2)}, tmp_path / "blob")
    assert read_all(tmp_path / "blob").keys() == {"a"}


def test_a_header_that_begins_like_a_pickle_is_still_a_header(tmp_path):
    content = save({"a": np.ones(1, "float32")}, metadata={"note": "x" * 500})
    length = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + length] + b" " * (0x280 - length)  # little-endian 80 02, a pickle's first two bytes
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    assert read_all(tmp_path / "x.safetensors")["a"] == 1


def test_a_folder_stands_for_the_model_in_it(tmp_path):
    with pytest.raises(StorageError, match=r"neither model\.safetensors nor"):
        open_tensors(tmp_path)
    save_file({"a": np.ones(2)}, tmp_path / "model.safetensors")
    assert read_all(tmp_path).keys() == {"a"}


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".joblib", ".PTH"])
@pytest.mark.parametrize("protocol", [0, 5])  # the first has no sign by which it could be known
def test_a01_pickles_are_refused_by_their_names_with_the_way_out(tmp_path, suffix, protocol):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Marker(tmp_path / "ran"), protocol=protocol))
    with pytest.raises(UnsafeFileError, match=r"safetensors\.torch\.save_file"):
        open_tensors(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ""])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a02_a_renamed_pickle_is_refused_by_what_is_in_it(tmp_path, suffix, protocol):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Marker(tmp_path / "ran"), protocol=protocol))
    with pytest.raises(UnsafeFileError, match="a pickle"):
        open_tensors(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a02_torchs_zip_file_is_a_pickle_too(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    npz(path, {"archive/data.pkl": pickle.dumps(Marker(tmp_path / "ran"))})
    with pytest.raises(UnsafeFileError, match="a pickle"):
        open_tensors(path)
    assert not (tmp_path / "ran").exists()


def test_a_name_that_tells_of_another_format_is_said(tmp_path):
    save_file({"a": np.ones(2)}, tmp_path / "x.npz")
    with pytest.raises(CorruptFileError, match=r"\.npz, but inside it is a \.safetensors"):
        open_tensors(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html>Sign in</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"", "kind"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ""])
def test_what_is_something_else_is_called_so(tmp_path, content, kind, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises((CorruptFileError, InvalidArgumentError), match=kind):
        open_tensors(path)


def test_a03_an_array_of_objects_is_refused_and_nothing_runs(tmp_path):
    np.savez(tmp_path / "x.npz", good=np.ones(2), bad=np.array([Marker(tmp_path / "ran")], object))
    with pytest.raises(UnsafeFileError, match=r"bad\.npy holds Python objects"):
        open_tensors(tmp_path / "x.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a04_a_member_that_stands_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        for number in (1.0, 2.0):
            file.writestr("a.npy", npy(np.array(number)))
    with pytest.raises(CorruptFileError, match="duplicate"):
        open_tensors(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/../../x.npy", "a\\x.npy", "a//x.npy", "x.txt"])
def test_a05_a_member_with_a_strange_name_is_refused(tmp_path, name):
    npz(tmp_path / "x.npz", {name: npy(np.ones(1))})
    with pytest.raises(UnsafeFileError):
        open_tensors(tmp_path / "x.npz")


def test_a06_a_deflate_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.npy", "w") as member:
        member.write(npy_with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**25},), }}\n"))
        for _ in range(128):
            member.write(bytes(2**20))
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(UnsafeFileError, match="claim to hold"):
            open_tensors(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**22
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("shape", ["(3,)", "(-4,)", "(2**62,)", "(4611686018427387904, 4)", "('a',)", "None"])
def test_a07_a_header_that_does_not_fit_its_bytes_is_refused(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"
    npz(tmp_path / "x.npz", {"a.npy": npy_with_header(header, bytes(16))})
    with pytest.raises(CorruptFileError):
        open_tensors(tmp_path / "x.npz")


def test_a08_an_array_with_a_long_header_is_refused(tmp_path):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }" + " " * 20_000 + "\n"
    npz(tmp_path / "x.npz", {"a.npy": npy_with_header(header, bytes(16))})
    with pytest.raises(CorruptFileError):
        open_tensors(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(7), id="7 bytes"),
        pytest.param(struct.pack("<Q", 2**63) + b"{}", id="a header of 2**63 bytes"),
        pytest.param(struct.pack("<Q", 101 * 2**20) + b"{" + bytes(100), id="a header of 101 MiB"),
    ],
)
def test_a09_a_header_that_cannot_be_is_refused_at_once(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(CorruptFileError, match="header") as caught:
        open_tensors(path)
    assert time.perf_counter() - start < 1
    assert str(path) in str(caught.value)


def entry(start: int, end: int, **changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end], **changes}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        pytest.param({"a": entry(0, 8)}, 7, id="cut off"),
        pytest.param({"a": entry(0, 8)}, 9, id="bytes behind"),
        pytest.param({"a": entry(0, 4), "b": entry(8, 12)}, 12, id="a hole"),
        pytest.param({"a": entry(4, 8)}, 8, id="a hole in front"),
        pytest.param({"a": entry(0, 8), "b": entry(4, 12)}, 12, id="an overlap"),
        pytest.param({"a": entry(0, 8), "b": entry(0, 8)}, 8, id="two at one place"),
        pytest.param({"a": entry(8, 0)}, 8, id="backwards"),
        pytest.param({"a": entry(0, 8, shape=[3])}, 8, id="another shape"),
        pytest.param({"a": entry(0, 8, shape=[2**62, 4])}, 8, id="a shape that overflows"),
        pytest.param({"a": entry(0, 8, shape=[-1, -2])}, 8, id="negative sides"),
        pytest.param({"a": entry(0, 8, shape=[True, 2])}, 8, id="a side that is no number"),
        pytest.param({"a": entry(0, 8, shape=[1] * 40 + [2])}, 8, id="too many sides"),
        pytest.param({"a": entry(0, 8, data_offsets=[0])}, 8, id="one offset"),
        pytest.param({"a": {"dtype": "F32"}}, 0, id="no shape"),
        pytest.param({"a": [1]}, 0, id="no entry"),
    ],
)
def test_a10_a_header_that_does_not_fill_its_file_is_refused(tmp_path, header, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(header, bytes(size)))
    with pytest.raises(CorruptFileError) as caught:
        open_tensors(path)
    assert str(path) in str(caught.value)


def test_a11_a_name_twice_is_refused(tmp_path):
    text = json.dumps(ENTRY).encode()
    (tmp_path / "x.safetensors").write_bytes(safetensors_bytes(b'{"a":%s,"a":%s}' % (text, text), bytes(4)))
    with pytest.raises(CorruptFileError, match="twice"):
        open_tensors(tmp_path / "x.safetensors")


def test_a12_too_many_tensors_are_refused(tmp_path):
    header = {f"t{index}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(20_001)}
    (tmp_path / "x.safetensors").write_bytes(safetensors_bytes(header))
    with pytest.raises(UnsafeFileError, match="20001 tensors are too many"):
        open_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "Q8"])
def test_a13_a_format_that_is_not_known_is_only_refused_when_it_is_read(tmp_path, dtype):
    header = {"a": entry(0, 8, dtype=dtype), "b": entry(8, 12)}
    (tmp_path / "x.safetensors").write_bytes(safetensors_bytes(header, bytes(12)))
    with open_tensors(tmp_path / "x.safetensors") as file:
        assert file.read("b") == 0
        with pytest.raises(WeightMismatchError, match=f"dtype {dtype}"):
            file.read("a")


def shard(folder, names_of_files: dict[str, list[str]], weight_map: dict[str, str]) -> None:
    for name, tensors in names_of_files.items():
        save_file({tensor: np.full(2, index, "float32") for index, tensor in enumerate(tensors)}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_read_as_one(tmp_path):
    shard(
        tmp_path,
        {"m-1.safetensors": ["a", "b"], "m-2.safetensors": ["c"]},
        {"a": "m-1.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"},
    )
    read = read_all(tmp_path)
    assert {name: array[0] for name, array in read.items()} == {"a": 0, "b": 1, "c": 0}


@pytest.mark.parametrize(
    "name", ["../m-1.safetensors", "/etc/m.safetensors", "..", "a\\m.safetensors", "C:m.safetensors", ".m.safetensors",
             "m-1.bin", "", "a/m.safetensors", "m\n.safetensors"],
)  # fmt: skip
def test_a21_an_index_names_files_beside_it_alone(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": np.ones(2)}, tmp_path / "m-1.safetensors")
    shard(folder, {}, {"a": name})
    with pytest.raises(UnsafeFileError, match="in the folder of their index"):
        open_tensors(folder)


@pytest.mark.parametrize(
    "weight_map",
    [
        {"a": "m-1.safetensors"},  # b is in no file
        {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-2.safetensors"},  # b is in the other
        {"a": "m-1.safetensors", "b": "m-1.safetensors", "d": "m-1.safetensors"},  # d is nowhere
    ],
)
def test_a21_an_index_that_its_files_contradict_is_refused(tmp_path, weight_map):
    shard(tmp_path, {"m-1.safetensors": ["a", "b"], "m-2.safetensors": ["c"]}, weight_map)
    with pytest.raises(CorruptFileError, match="differ from the index"):
        open_tensors(tmp_path)


def test_a21_a_tensor_in_two_files_is_refused(tmp_path):
    shard(
        tmp_path,
        {"m-1.safetensors": ["a", "b"], "m-2.safetensors": ["b", "c"]},
        {"a": "m-1.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"},
    )
    with pytest.raises(CorruptFileError, match=r"the first 'b', which should be in m-1\.safetensors"):
        open_tensors(tmp_path)


def test_a21_a_shard_that_is_not_there_is_named(tmp_path):
    shard(tmp_path, {}, {"a": "m-1.safetensors"})
    with pytest.raises(StorageError, match=r"m-1\.safetensors"):
        open_tensors(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": {"a": 1}}', b"[" * 100_000, b"\xff\xfe",
             b'{"weight_map": {"a": "m.safetensors", "a": "n.safetensors"}}'],
)  # fmt: skip
def test_a21_an_index_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_bytes(text)
    with pytest.raises(VitKerasError):
        open_tensors(tmp_path)


KERAS = {
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "a Keras model": b"PK\3\4" + bytes(22) + struct.pack("<HH", 13, 0) + b"metadata.json" + bytes(100),
}


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.weights.h5", "x.hdf5", "X.H5"])
@pytest.mark.parametrize("content", [*KERAS.values(), b""])
def test_a27_a28_a29_files_of_keras_are_refused_by_their_names_with_the_risk_and_the_way_out(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UnsafeFileError, match=r"can run code.*load it with Keras.*save_preset or vit_keras\.weights\.write"
    ):
        open_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz", "model"])
@pytest.mark.parametrize("kind", KERAS)
def test_a27_a28_a29_renamed_files_of_keras_are_refused_by_what_is_in_them(tmp_path, name, kind):
    (tmp_path / name).write_bytes(KERAS[kind])
    with pytest.raises(UnsafeFileError, match=f"this is {kind}.*can run code.*load it with Keras"):
        open_tensors(tmp_path / name)


def test_a29_a_model_that_keras_saved_is_known_by_what_is_in_it(tmp_path):
    import keras

    keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "model.npz")
    with pytest.raises(UnsafeFileError, match="this is a Keras model"):
        open_tensors(tmp_path / "model.npz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a30_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(InvalidArgumentError, match="no regular file"):
        open_tensors(tmp_path / "x.safetensors")


def test_a30_a_device_is_no_file():
    with pytest.raises(InvalidArgumentError, match="no regular file"):
        open_tensors(os.devnull)


def test_a30_a_link_to_nothing_is_not_there(tmp_path):
    (tmp_path / "x.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(StorageError, match="no such file"):
        open_tensors(tmp_path / "x.safetensors")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a30_a_file_that_may_not_be_read_is_a_storage_error(tmp_path):
    save_file({"a": np.ones(2)}, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").chmod(0)
    with pytest.raises(StorageError):
        open_tensors(tmp_path / "x.safetensors")


def test_a31_a_file_that_shrinks_while_it_is_read_is_corrupt(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones(2000)}, path)
    with open_tensors(path) as file:
        os.truncate(path, 4000)
        with pytest.raises(CorruptFileError, match="shorter"):
            file.read("a")


def test_a31_a_member_that_changes_while_it_is_read_is_corrupt(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(2000))
    with open_tensors(path) as file:
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match="damaged"):
            file.read("a")


GOOD_SAFETENSORS = save({"a/b": np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4), "c": np.ones(3, "float16")})


def good_npz(compression: int) -> bytes:
    buffer = io.BytesIO()
    npz(
        buffer,
        {"a/b.npy": npy(np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)), "c.npy": npy(np.ones(3, "V2"))},
        compression,
    )
    return buffer.getvalue()


GOOD_FILES = {
    "x.safetensors": GOOD_SAFETENSORS,
    "x.npz": good_npz(zipfile.ZIP_STORED),
    "y.npz": good_npz(zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("name", GOOD_FILES)
@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_by_our_errors_alone(tmp_path, name, data):
    good = GOOD_FILES[name]
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3), label="damages")):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)), label="place")
        new = data.draw(st.binary(max_size=9), label="new")
        cut = data.draw(st.integers(0, 9), label="cut")
        content[place : place + cut] = new
    if data.draw(st.booleans(), label="torn"):
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
    assert peak < 2 * npz_file.SMALL


NUMBERS = st.one_of(st.integers(-2, 40), st.sampled_from([2**31, 2**63, 2**64, 1.5, None, "a", True]))


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    header=st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__", ""]),
        st.one_of(
            st.fixed_dictionaries(
                {
                    "dtype": st.sampled_from(["F32", "BF16", "F8_E4M3", "BOOL", "Q", 3]),
                    "shape": st.lists(NUMBERS, max_size=3),
                    "data_offsets": st.lists(NUMBERS, max_size=3),
                }
            ),
            st.none(),
        ),
    ),
    size=st.integers(0, 64),
)
def test_a_header_of_any_kind_is_read_or_refused_by_our_errors_alone(tmp_path, header, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(header, bytes(size)))
    try:
        read_all(path)
    except VitKerasError:
        return


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    descr=st.sampled_from(["<f4", "|O", "V2", "|b1", "<U3", "<M8[s]", "[('a', '<f4')]", "'<f4', 3", "<f999", ""]),
    shape=st.lists(st.integers(-2, 20), max_size=3),
    quote=st.sampled_from(["'", ""]),
    size=st.integers(0, 64),
)
def test_an_array_header_of_any_kind_is_read_or_refused_by_our_errors_alone(tmp_path, descr, shape, quote, size):
    header = f"{{'descr': {quote}{descr}{quote}, 'fortran_order': False, 'shape': {tuple(shape)}, }}\n"
    npz(tmp_path / "x.npz", {"a.npy": npy_with_header(header, bytes(size))})
    try:
        read_all(tmp_path / "x.npz")
    except VitKerasError:
        return
