"""Reads and writes named arrays as safetensors files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from vit_keras.errors import CorruptFileError, StorageError, WeightMismatchError
from vit_keras.runtime.files import atomic_file
from vit_keras.validation import list_words
from vit_keras.weights.formats.safetensors import SafetensorsFile

_DTYPES = {
    "float64", "float32", "float16", "bfloat16",
    "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8",
}  # fmt: skip
_PART = 2**18  # numbers checked at a time
_SHOWN = 10  # tensors of each kind in an error


def write_tensors(
    tensors: Mapping[str, np.ndarray], path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named arrays as a safetensors file, which appears complete or not at all.

    Args:
        tensors: Arrays by name.
        path: The file; an existing one is replaced.
        metadata: Further entries of the header; transformers requires {"format": "pt"}.

    Raises:
        StorageError: The file could not be written; an existing one is unchanged.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with atomic_file(Path(path)) as unfinished:
        try:
            save_file(arrays, unfinished, dict(metadata or {}) or None)
        except SafetensorError as error:
            raise StorageError(f"{path}: could not be written ({error}).") from error


def read_tensors(path: str | Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file, after checking every name and shape.

    Args:
        path: The file.
        expected: Shape by name; the file must hold exactly these.

    Raises:
        StorageError: The file does not exist.
        CorruptFileError: It is damaged, or holds NaN or infinity.
        WeightMismatchError: A tensor is missing, unexpected, or of another shape; the message lists all of them.
    """
    path = Path(path)
    with SafetensorsFile(path) as file:
        _check_names(path, {name: info.shape for name, info in file.tensors.items()}, expected)
        unread = {name: info.dtype for name, info in file.tensors.items() if info.dtype not in _DTYPES}
        if unread:
            raise WeightMismatchError(f"{path}: unsupported dtypes: {dict(list(unread.items())[:_SHOWN])}.")
        tensors = {name: file.read(name) for name in file.tensors}
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if broken:
        raise CorruptFileError(
            f"{path}: numbers that are not finite (NaN, infinity) in {len(broken)} of its tensors, such as {list_words(broken[:_SHOWN])}."
        )
    return tensors


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers of an array are finite; checked in parts, so that no second array is allocated."""
    if array.dtype.kind in "iu":
        return True
    flat = array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)
    return all(np.isfinite(flat[start : start + _PART]).all() for start in range(0, flat.size, _PART))


def count_each(problems: Mapping[str, list[str]]) -> list[str]:
    """Returns a line for each kind of problem that there is: how many, and the first ten."""
    return [f"{len(found)} {what}: {list_words(found, limit=_SHOWN)}" for what, found in problems.items() if found]


def _check_names(path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = [
        f"{name} is {found[name]}, not {shape}" for name, shape in expected.items() if found.get(name, shape) != shape
    ]
    reasons = count_each({"missing": missing, "not in the model": extra, "of another shape": other})
    if reasons:
        raise WeightMismatchError(f"{path} does not fit the model: {'; '.join(reasons)}.")
