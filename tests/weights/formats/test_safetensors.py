"""safetensors files are read exactly, and refused where the header does not describe the file."""

import json
import os
import struct
import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weights.checkpoints import safetensors_bytes

from vit_keras.errors import CorruptFileError, UnsafeFileError, VitKerasError, WeightMismatchError
from vit_keras.weights import open_tensors


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def entry(start: int, end: int, **changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end], **changes}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "uint8", "bool"])
def test_tensors_are_read_exactly(path, dtype):
    arrays = {
        str(shape): np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
        for shape in [(), (0, 3), (5,), (2, 3, 4)]
    }
    save_file(arrays, path)
    with open_tensors(path) as file:
        for name, array in arrays.items():
            read = file.read(name)
            assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize(
    "content",
    [b"", bytes(7), struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 101 * 2**20) + b"{" + bytes(100)],
    ids=["nothing", "7 bytes", "a header of 2**63 bytes", "a header of 101 MiB"],
)
def test_a09_an_impossible_header_size_is_refused_at_once(path, content):
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(CorruptFileError, match=r"x\.safetensors.*header"):
        open_tensors(path)
    assert time.perf_counter() - start < 1


BAD_HEADERS = {
    "truncated": ({"a": entry(0, 8)}, 7),
    "bytes added": ({"a": entry(0, 8)}, 9),
    "a gap": ({"a": entry(0, 4), "b": entry(8, 12)}, 12),
    "a gap at the start": ({"a": entry(4, 8)}, 8),
    "an overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, 12),
    "two tensors at one place": ({"a": entry(0, 8), "b": entry(0, 8)}, 8),
    "backwards": ({"a": entry(8, 0)}, 8),
    "another shape": ({"a": entry(0, 8, shape=[3])}, 8),
    "a shape that overflows": ({"a": entry(0, 8, shape=[2**62, 4])}, 8),
    "negative sides": ({"a": entry(0, 8, shape=[-1, -2])}, 8),
    "a side that is no number": ({"a": entry(0, 8, shape=[True, 2])}, 8),
    "too many sides": ({"a": entry(0, 8, shape=[1] * 40 + [2])}, 8),
    "one offset": ({"a": entry(0, 8, data_offsets=[0])}, 8),
    "no shape": ({"a": {"dtype": "F32"}}, 0),
    "no entry": ({"a": [1]}, 0),
    "a list": ([], 0),
    "nested too deep": (b"{" * 100_000, 0),
    "no text": (b"\xff\xfe\xfd\xfc", 0),
}


@pytest.mark.parametrize("kind", BAD_HEADERS)
def test_a10_a_header_that_does_not_describe_its_file_is_refused(path, kind):
    header, size = BAD_HEADERS[kind]
    path.write_bytes(safetensors_bytes(header, bytes(size)))
    with pytest.raises(CorruptFileError, match=r"x\.safetensors"):
        open_tensors(path)


def test_a11_a_duplicate_name_is_refused(path):
    text = json.dumps(entry(0, 4)).encode()
    path.write_bytes(safetensors_bytes(b'{"a":%s,"a":%s}' % (text, text), bytes(4)))
    with pytest.raises(CorruptFileError, match="twice"):
        open_tensors(path)


def test_a12_too_many_tensors_are_refused(path):
    header = {f"t{index}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(20_001)}
    path.write_bytes(safetensors_bytes(header))
    with pytest.raises(UnsafeFileError, match="20001 tensors are too many"):
        open_tensors(path)


def test_a_header_over_the_limit_is_refused_before_it_is_parsed(path, monkeypatch):
    save_file({"a": np.ones(2)}, path, metadata={"note": "x" * 5000})
    monkeypatch.setattr("vit_keras.weights.formats.safetensors.LARGEST_HEADER", 4096)
    with pytest.raises(CorruptFileError, match="header"):
        open_tensors(path)


def test_a13_an_unknown_dtype_is_refused_only_when_it_is_read(path):
    path.write_bytes(safetensors_bytes({"a": entry(0, 8, dtype="F4"), "b": entry(8, 12)}, bytes(12)))
    with open_tensors(path) as file:
        assert file.read("b") == 0
        with pytest.raises(WeightMismatchError, match="dtype F4"):
            file.read("a")


def test_a31_a_file_that_shrinks_while_it_is_read_is_corrupt(path):
    save_file({"a": np.ones(2000)}, path)
    with open_tensors(path) as file:
        os.truncate(path, 4000)
        with pytest.raises(CorruptFileError, match="shorter"):
            file.read("a")


NUMBERS = st.one_of(st.integers(-2, 40), st.sampled_from([2**31, 2**63, 2**64, 1.5, None, "a", True]))
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F8_E4M3", "BOOL", "Q", 3]),
        "shape": st.lists(NUMBERS, max_size=3),
        "data_offsets": st.lists(NUMBERS, max_size=3),
    }
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    header=st.dictionaries(st.sampled_from(["a", "b", "__metadata__", ""]), st.one_of(ENTRIES, st.none())),
    size=st.integers(0, 64),
)
def test_any_header_is_read_or_refused_by_our_errors_alone(tmp_path, header, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(header, bytes(size)))
    try:
        with open_tensors(path) as file:
            for name in file.tensors:
                file.read(name)
    except VitKerasError:
        return
