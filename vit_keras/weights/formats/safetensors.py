"""Reads a safetensors file, after checking its header against the file size."""

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it
import numpy as np
import numpy.typing as npt

from vit_keras.errors import CorruptFileError, UnsafeFileError, WeightMismatchError
from vit_keras.runtime.strict_json import parse_json
from vit_keras.weights.formats.tensor_file import (
    LARGEST_COUNT,
    TensorFile,
    TensorInfo,
    check_regular,
    errors_of_reading,
)

LARGEST_HEADER = 8 * 2**20  # bytes; 20,000 tensors need half of it
_LARGEST_RANK = 32  # of arrays in every NumPy version
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


class SafetensorsFile(TensorFile):
    """An open safetensors file, whose header describes exactly its bytes. `read` copies: the file is not mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = check_regular(path)
        with errors_of_reading(path), ExitStack() as stack:
            self._file = stack.enter_context(path.open("rb"))
            self._start, header = _read_header(self._file, path, size)
            self._places = _check_places(header, path, size - self._start)
            self._opened = stack.pop_all()
        self.tensors = {name: info for name, (info, _, _) in self._places.items()}

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor in its own dtype."""
        info, start, end = self._places[name]
        if info.dtype not in _DTYPES.values():
            raise WeightMismatchError(f"{self.path}: {name} has dtype {info.dtype}, which is not supported.")
        raw = np.empty(end - start, "uint8")
        with errors_of_reading(self.path):
            self._file.seek(self._start + start)
            count = self._file.readinto(raw.data)
        if count != end - start:
            raise CorruptFileError(f"{self.path}: the file became shorter while it was read, at {name}.")
        return raw.view(info.dtype).reshape(info.shape)


def _read_header(file: Any, path: Path, size: int) -> tuple[int, dict[str, Any]]:
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
        raise CorruptFileError(
            f"{path}: not a complete safetensors file: its header cannot have {length} of {size} bytes (the limit is {LARGEST_HEADER})."
        )
    header = parse_json(file.read(length), f"{path}, the header")
    if not isinstance(header, dict):
        raise CorruptFileError(f"{path}: not a safetensors file, its header is a JSON {type(header).__name__}.")
    header.pop("__metadata__", None)
    if len(header) > LARGEST_COUNT:
        raise UnsafeFileError(f"{path}: {len(header)} tensors are too many; the limit is {LARGEST_COUNT}.")
    return 8 + length, header


def _check_places(header: dict[str, Any], path: Path, size: int) -> dict[str, tuple[TensorInfo, int, int]]:
    """Returns each tensor's info, start and end, after checking that they fill the file without gaps or overlaps."""
    found = {}
    for name, entry in header.items():
        if not _is_entry(entry):
            raise CorruptFileError(f"{path}: the header's entry of {name!r} is not one of a safetensors file.")
        info = TensorInfo(tuple(entry["shape"]), _DTYPES.get(entry["dtype"], entry["dtype"]))
        start, end = entry["data_offsets"]
        count = math.prod(info.shape)
        if info.dtype in _DTYPES.values() and end - start != count * np.dtype(info.dtype).itemsize:
            raise CorruptFileError(f"{path}: {name} of shape {info.shape} cannot have {end - start} bytes.")
        found[name] = (info, start, end)
    end_before = 0
    for name, (_, start, end) in sorted(found.items(), key=lambda place: place[1][1:]):
        if start != end_before:
            raise CorruptFileError(
                f"{path}: {name} begins at byte {start}; expected {end_before} (a gap or an overlap)."
            )
        end_before = end
    if end_before != size:
        raise CorruptFileError(
            f"{path}: its header describes {end_before} bytes of data, and it has {size}: truncated, or with bytes added."
        )
    return found


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        return False
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or not isinstance(entry["dtype"], str):
        return False
    legal = all(type(number) is int and 0 <= number < 2**63 for number in shape + offsets)
    return legal and len(shape) <= _LARGEST_RANK and len(offsets) == 2 and offsets[0] <= offsets[1]
