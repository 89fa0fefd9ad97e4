import json
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from vit_keras.errors import CorruptFileError, StorageError, VitKerasError, WeightMismatchError
from vit_keras.weights import read_tensors, write_tensors
from vit_keras.weights.formats import safetensors as safetensors_file

SHAPES = {"block/kernel": (3, 4), "block/bias": (4,), "head/kernel": (4, 2)}


@pytest.fixture
def tensors(rng):
    return {name: rng.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def with_header(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


ENTRY = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int64", "uint32", "uint8"])
def test_what_is_written_is_read_back_to_the_bit(path, dtype):
    written = {"one": np.arange(6).astype(dtype).reshape(2, 3), "two": np.arange(4).astype(dtype)[::2]}
    write_tensors(written, path)
    read = read_tensors(path, {"one": (2, 3), "two": (2,)})
    for name, array in written.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_a_single_number_comes_back_as_a_single_number(path):
    write_tensors({"steps": np.array(7)}, path)
    assert read_tensors(path, {"steps": ()})["steps"] == 7


def test_a_transposed_array_comes_back_in_its_own_order(path, rng):
    array = rng.normal(size=(3, 5)).T
    write_tensors({"kernel": array}, path)
    np.testing.assert_array_equal(read_tensors(path, {"kernel": (5, 3)})["kernel"], array)


def test_every_misfit_is_in_one_report(path, tensors):
    write_tensors(tensors, path)
    expected = {"block/kernel": (4, 3), "block/bias": (4,), "norm/gamma": (4,)}
    with pytest.raises(WeightMismatchError) as caught:
        read_tensors(path, expected)
    message = str(caught.value)
    assert str(path) in message
    assert "1 missing: ['norm/gamma']" in message
    assert "1 not in the model: ['head/kernel']" in message
    assert "block/kernel is (3, 4), not (4, 3)" in message


def test_a_report_names_ten_tensors_and_counts_all(path):
    write_tensors({f"extra_{index:03d}": np.zeros(1) for index in range(300)}, path)
    with pytest.raises(WeightMismatchError, match="300 not in the model") as caught:
        read_tensors(path, {})
    assert str(caught.value).count("extra_") == 10


def test_a_missing_file_is_named(path):
    with pytest.raises(StorageError, match="there is no such file") as caught:
        read_tensors(path, SHAPES)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("rest", [0, 7, 8, 60, -1])
def test_a_truncated_file_is_corrupt(path, tensors, rest):
    write_tensors(tensors, path)
    path.write_bytes(path.read_bytes()[:rest])
    with pytest.raises(CorruptFileError) as caught:
        read_tensors(path, SHAPES)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pickle.dumps({"block/bias": [0.0]}, protocol=2), id="pickle 2"),
        pytest.param(pickle.dumps({"block/bias": [0.0]}), id="pickle"),
        pytest.param(b"PK\x03\x04" + bytes(200), id="zip"),
        pytest.param(b"<html>not found</html>", id="html"),
        pytest.param(struct.pack("<Q", 2**63) + b"{}", id="header of 2**63 bytes"),
        pytest.param(struct.pack("<Q", 101 * 2**20) + b"{}", id="header of 101 MiB"),
        pytest.param(with_header(b"{" * 100_000), id="header too deep"),
        pytest.param(with_header(b"\xff\xfe\xfd\xfc"), id="header of no text"),
        pytest.param(with_header([]), id="header is a list"),
        pytest.param(with_header(b'{"a":%s,"a":%s}' % (ENTRY, ENTRY), bytes(4)), id="a name twice"),
        pytest.param(with_header(b'{"a":%s}' % ENTRY, bytes(5)), id="bytes left over"),
        pytest.param(with_header({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, bytes(4)), id="huge"),
        pytest.param(with_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)), id="negative"),
    ],
)  # fmt: skip
def test_what_is_no_safetensors_file_is_corrupt(path, content):
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        read_tensors(path, {"a": (1,)})
    assert str(path) in str(caught.value)


def test_a_real_header_over_the_limit_is_refused_before_it_is_parsed(path, tensors, monkeypatch):
    save_file(tensors, path, metadata={"note": "x" * 5000})
    monkeypatch.setattr(safetensors_file, "LARGEST_HEADER", 4096)
    with pytest.raises(CorruptFileError, match="header"):
        read_tensors(path, SHAPES)


def test_a_name_that_stands_twice_is_said(path):
    path.write_bytes(with_header(b'{"a":%s,"a":%s}' % (ENTRY, ENTRY), bytes(4)))
    with pytest.raises(CorruptFileError, match="twice"):
        read_tensors(path, {"a": (1,)})


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16])
def test_numbers_that_are_not_finite_are_corrupt(path, number, dtype):
    write_tensors({"good": np.zeros(3, dtype), "bad": np.array([0, number], dtype)}, path)
    with pytest.raises(CorruptFileError, match=r"1 tensors .* not finite, the first \['bad'\]"):
        read_tensors(path, {"good": (3,), "bad": (2,)})


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "C64"])
def test_a_number_format_we_do_not_read_is_one_of_our_errors(path, dtype):
    bytes_each = 8 if dtype == "C64" else 1
    entry = {"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * bytes_each]}}
    path.write_bytes(with_header(entry, bytes(2 * bytes_each)))
    with pytest.raises(VitKerasError, match="a"):
        read_tensors(path, {"a": (2,)})


@pytest.mark.parametrize("step", ["save_file", "os.fsync"])
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(path, tensors, monkeypatch, step):
    write_tensors(tensors, path)
    before = path.read_bytes()

    def full(*arguments, **keywords):
        if step == "save_file":
            arguments[1].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"vit_keras.weights.store.{step}", full)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        write_tensors({"other": np.ones(3)}, path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path, tensors):
    with pytest.raises(StorageError):
        write_tensors(tensors, tmp_path / "nowhere" / "model.safetensors")


GOOD = save(
    {name: np.linspace(-1, 1, int(np.prod(shape)), dtype="float32").reshape(shape) for name, shape in SHAPES.items()}
)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    place=st.integers(0, len(GOOD) - 1),
    new=st.binary(min_size=1, max_size=9),
    cut=st.integers(0, 9),
    tail=st.booleans(),
)
def test_a_damaged_file_is_read_or_refused_by_our_errors_alone(path, place, new, cut, tail):
    path.write_bytes(GOOD[:place] + new + (GOOD[place + cut :] if tail else b""))
    try:
        read = read_tensors(path, SHAPES)
    except VitKerasError:
        return
    assert {name: array.shape for name, array in read.items()} == SHAPES
