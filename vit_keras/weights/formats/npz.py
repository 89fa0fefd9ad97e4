"""Reads an `.npz` file, as Google's libraries write them, after checking every array's header."""

import math
import struct
import zipfile
import zlib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it
import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from vit_keras.errors import CorruptFileError, UnsafeFileError
from vit_keras.weights.formats.tensor_file import (
    LARGEST_COUNT,
    TensorFile,
    TensorInfo,
    check_regular,
    errors_of_reading,
)

_LARGEST_NPY_HEADER = 10_000  # bytes; an array without fields needs a hundred
_LARGEST_RATIO = 10  # declared bytes per byte of the file; weights hardly compress, a zip bomb does a thousandfold
SMALL = 16 * 2**20  # bytes that need no ratio check
# What zipfile raises on a damaged file; NotImplementedError is a RuntimeError.
_DAMAGES = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error, OverflowError, KeyError, IndexError
)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    zipped: zipfile.ZipInfo
    info: TensorInfo
    dtype: np.dtype[np.generic]  # as stored: with byte order, bfloat16 as V2
    fortran_order: bool
    start: int  # size of the header, bytes


class NpzFile(TensorFile):
    """An open `.npz` file; one that is damaged, or unsafe to read, raises an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = check_regular(path)
        with ExitStack() as stack:
            try:
                with errors_of_reading(path):
                    self._zip = stack.enter_context(zipfile.ZipFile(path))
            except _DAMAGES as error:
                raise CorruptFileError(f"{path}: not a complete .npz file ({error}).") from error
            members = self._zip.infolist()
            _check_members(members, path, size)
            self._members = {member.filename.removesuffix(".npy"): self._read_header(member) for member in members}
            self._opened = stack.pop_all()
        self.tensors = {name: member.info for name, member in self._members.items()}

    def _read_header(self, zipped: zipfile.ZipInfo) -> _Member:
        try:
            with self._zip.open(zipped) as file:
                shape, fortran_order, dtype = _read_npy_header(file)
                start = file.tell()
        except Exception as error:  # NumPy evaluates the header as Python text, and raises a dozen kinds of errors
            raise CorruptFileError(f"{self.path}: {zipped.filename} is not a complete array ({error}).") from error
        if dtype.hasobject:
            raise UnsafeFileError(
                f"{self.path}: {zipped.filename} holds Python objects, which can run code when read; nothing was read."
            )
        if any(side < 0 for side in shape) or start + math.prod(shape) * dtype.itemsize != zipped.file_size:
            raise CorruptFileError(
                f"{self.path}: {zipped.filename} of shape {shape} and {dtype} cannot have {zipped.file_size - start} bytes."
            )
        name = "bfloat16" if dtype == np.dtype("V2") else dtype.newbyteorder("=").name
        return _Member(zipped, TensorInfo(tuple(shape), name), dtype, fortran_order, start)

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor in its own dtype."""
        member = self._members[name]
        raw = np.empty(member.zipped.file_size - member.start, "uint8")
        try:
            with errors_of_reading(self.path), self._zip.open(member.zipped) as file:
                file.read(member.start)
                count = file.readinto(raw.data) if raw.size else 0  # type: ignore[attr-defined]  # it is a BufferedIOBase
                rest = file.read(1)  # zipfile compares the checksum at the end of the member
        except _DAMAGES as error:
            raise CorruptFileError(f"{self.path}: {name} is damaged ({error}).") from error
        if count != raw.size or rest:
            raise CorruptFileError(f"{self.path}: {name} does not have the length that its header states.")
        array = raw.view(member.dtype).reshape(member.info.shape, order="F" if member.fortran_order else "C")
        if member.info.dtype == "bfloat16":
            return array.view("bfloat16")
        return array.astype(member.dtype.newbyteorder("="), copy=False)


def _check_members(members: list[zipfile.ZipInfo], path: Path, size: int) -> None:
    if len(members) > LARGEST_COUNT:
        raise UnsafeFileError(f"{path}: {len(members)} arrays are too many; the limit is {LARGEST_COUNT}.")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        twice, _ = Counter(names).most_common(1)[0]
        raise CorruptFileError(f"{path}: a duplicate member: {twice}.")
    for name in names:
        if not name.endswith(".npy") or name.startswith("/") or "\\" in name or {"..", ""} & set(name.split("/")):
            raise UnsafeFileError(f"{path}: {name!r} is not a legal name of an array in an .npz file.")
    declared = sum(member.file_size for member in members)
    if declared > _LARGEST_RATIO * size + SMALL:
        raise UnsafeFileError(f"{path}: {size} bytes claim to hold {declared}; weights do not compress so much.")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 0x1:
            raise CorruptFileError(
                f"{path}: {member.filename} is compressed or encrypted in a way that NumPy does not use."
            )


def _read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(file)
    reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"format {version} is not supported")
    return reader(file, max_header_size=_LARGEST_NPY_HEADER)
