"""A safetensors file and a list of named variables: all of one into all of the other."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it, which the readers below hand out
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vit_keras.errors import CorruptFileError, StorageError, VitKerasError, WeightMismatchError

_DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"}
_LARGEST_HEADER = 16 * 2**20
_SHOWN = 10  # tensors of each kind in an error


def write_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes named arrays as a safetensors file that appears whole or not at all.

    Args:
        tensors: Arrays by name.
        path: The file; one that exists is replaced in one step.

    Raises:
        StorageError: It could not be written; what was there before still is.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        save_file({name: np.asarray(array, order="C") for name, array in tensors.items()}, unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise StorageError(f"{path}: could not be written ({error}).") from error


def read_tensors(
    path: Path, expected: Mapping[str, tuple[int, ...]], *, optional_prefix: str | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file after checking every name and shape against what is expected.

    Args:
        path: The file.
        expected: Shape by name; the file must hold exactly these.
        optional_prefix: Tensors whose names start so are left out where they are missing or of another shape.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: It is damaged, or holds a number that is not finite.
        WeightMismatchError: A tensor is missing, too much, or of another shape; all in one report.
    """
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file.")
    _check_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  safe_open is no dict
            if optional_prefix is not None:
                optional = {name for name in found.keys() | expected.keys() if name.startswith(optional_prefix)}
                unfit = {name for name in optional if found.get(name) != expected.get(name)}
                found = {name: shape for name, shape in found.items() if name not in unfit}
                expected = {name: shape for name, shape in expected.items() if name not in unfit}
            _check_names(path, found, expected)
            _check_dtypes(path, {name: file.get_slice(name).get_dtype() for name in found})
            tensors = {name: file.get_tensor(name) for name in found}
    except SafetensorError as error:
        raise CorruptFileError(f"{path}: not a whole safetensors file ({error}).") from error
    except OSError as error:
        raise (
            error if isinstance(error, VitKerasError) else StorageError(f"{path}: could not be read ({error}).")
        ) from error
    broken = [
        name for name, tensor in tensors.items() if tensor.dtype.kind not in "iu" and not np.isfinite(tensor).all()
    ]
    if broken:
        raise CorruptFileError(
            f"{path}: {len(broken)} tensors hold numbers that are not finite, the first {broken[:_SHOWN]}."
        )
    return tensors


def _check_header(path: Path) -> None:
    """Refuses what the library would accept or say less clearly: huge headers and names that stand twice."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error
    with file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(_LARGEST_HEADER, path.stat().st_size - 8):
            raise CorruptFileError(
                f"{path}: not a safetensors file, its header can't be {length} bytes of {path.stat().st_size}."
            )
        header = file.read(length)

    def only_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise CorruptFileError(f"{path}: a tensor name stands twice in its header.")
        return dict(pairs)

    try:
        json.loads(header, object_pairs_hook=only_once)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path}: not a safetensors file, its header is not JSON.") from error


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
