"""Reads an `.npz` file, as Google's libraries write them, after checking every array's header."""

import math
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it
import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from vit_keras.errors import CorruptFileError, StorageError, UnsafeFileError
from vit_keras.weights.formats.tensor_file import LARGEST_COUNT, TensorFile, TensorInfo, check_regular

_LARGEST_NPY_HEADER = 10_000  # bytes; an array without fields needs a hundred
_LARGEST_RATIO = 10  # declared bytes per byte of the file; weights hardly compress, a zip bomb does a thousandfold
SMALL = 16 * 2**20  # bytes that need no ratio check
_DAMAGES = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error, OverflowError, KeyError, IndexError
)  # fmt: skip
"""What zipfile raises on a damaged file; NotImplementedError is a RuntimeError."""


@dataclass(frozen=True)
class _Member:
    zipped: zipfile.ZipInfo
    info: TensorInfo
    dtype: np.dtype[np.generic]  # as stored: with byte order, bfloat16 as V2
    fortran_order: bool
    start: int  # size of the header, bytes


class NpzFile(TensorFile):
    """An open `.npz` file.

    Args:
        path: The file.

    Raises:
        StorageError: It cannot be read.
        CorruptFileError: It is damaged, or has two arrays of one name.
        UnsafeFileError: It holds Python objects or unsafe names, or claims far more data than its size allows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = check_regular(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGES as error:
            raise CorruptFileError(f"{path}: not a complete .npz file ({error}).") from error
        except OSError as error:
            raise StorageError(f"{path}: could not be read ({error}).") from error
        try:
            _check_members(self._zip.infolist(), path, size)
            self._members = {
                zipped.filename.removesuffix(".npy"): self._read_header(zipped) for zipped in self._zip.infolist()
            }
        except BaseException:
            self._zip.close()
            raise
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
            with self._zip.open(member.zipped) as file:
                file.read(member.start)
                count = file.readinto(raw.data) if raw.size else 0  # type: ignore[attr-defined]  # it is a BufferedIOBase
                rest = file.read(1)  # zipfile compares the checksum at the end of the member
        except _DAMAGES as error:
            raise CorruptFileError(f"{self.path}: {name} is damaged ({error}).") from error
        except OSError as error:
            raise StorageError(f"{self.path}: could not be read ({error}).") from error
        if count != raw.size or rest:
            raise CorruptFileError(f"{self.path}: {name} does not have the length that its header states.")
        array = raw.view(member.dtype).reshape(member.info.shape, order="F" if member.fortran_order else "C")
        if member.info.dtype == "bfloat16":
            return array.view("bfloat16")
        return array.astype(member.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()


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
