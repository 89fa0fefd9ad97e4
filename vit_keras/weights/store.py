"""A safetensors file and a list of named variables: all of one into all of the other."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from vit_keras.errors import CorruptFileError, StorageError, WeightMismatchError
from vit_keras.runtime.files import atomic_file
from vit_keras.weights.formats.safetensors import SafetensorsFile

_DTYPES = {
    "float64", "float32", "float16", "bfloat16",
    "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8",
}  # fmt: skip
_PART = 2**18  # numbers looked at together
_SHOWN = 10  # tensors of each kind in an error


def write_tensors(tensors: Mapping[str, np.ndarray], path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes named arrays as a safetensors file that appears whole or not at all.

    Args:
        tensors: Arrays by name.
        path: The file; one that exists is replaced in one step.
        metadata: What else its header says; transformers asks for {"format": "pt"}.

    Raises:
        StorageError: It could not be written; what was there before still is.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with atomic_file(path) as unfinished:
        try:
            save_file(arrays, unfinished, dict(metadata or {}) or None)
        except SafetensorError as error:
            raise StorageError(f"{path}: could not be written ({error}).") from error


def read_tensors(path: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file after checking every name and shape against what is expected.

    Args:
        path: The file.
        expected: Shape by name; the file must hold exactly these.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: It is damaged, or holds a number that is not finite.
        WeightMismatchError: A tensor is missing, too much, or of another shape; all in one report.
    """
    with SafetensorsFile(path) as file:
        found = {name: info.shape for name, info in file.tensors.items()}
        _check_names(path, found, expected)
        _check_dtypes(path, {name: file.tensors[name].dtype for name in found})
        tensors = {name: file.read(name) for name in found}
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if broken:
        raise CorruptFileError(
            f"{path}: {len(broken)} tensors hold numbers that are not finite, the first {broken[:_SHOWN]}."
        )
    return tensors


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers of an array are finite; looked at a part at a time, so that no second array is needed.

    Args:
        array: Whole numbers or floats.

    Example:
        >>> is_finite(np.array([1.0, np.nan]))
        False
    """
    if array.dtype.kind in "iu":
        return True
    flat = array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)
    return all(np.isfinite(flat[start : start + _PART]).all() for start in range(0, flat.size, _PART))


def _check_dtypes(path: Path, dtypes: Mapping[str, str]) -> None:
    unread = {name: dtype for name, dtype in dtypes.items() if dtype not in _DTYPES}
    if unread:
        raise WeightMismatchError(f"{path}: number formats not read here: {dict(list(unread.items())[:_SHOWN])}.")


def _check_names(path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = [
        f"{name} is {found[name]}, not {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    reasons = [
        f"{len(names)} {what}: {names[:_SHOWN]}"
        for names, what in ((missing, "missing"), (extra, "not in the model"), (other, "of another shape"))
        if names
    ]
    if reasons:
        raise WeightMismatchError(f"{path} does not fit the model: " + "; ".join(reasons) + ".")
