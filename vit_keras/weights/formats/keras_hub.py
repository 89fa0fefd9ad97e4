"""Reads the weights of a KerasHub preset directory as plain arrays; no class that its files name is imported."""

import math
from contextlib import ExitStack
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from vit_keras.errors import CorruptFileError, UnsafeFileError, VitKerasError
from vit_keras.weights.formats.tensor_file import (
    LARGEST_COUNT,
    TensorFile,
    TensorInfo,
    check_regular,
    errors_of_reading,
)

WEIGHTS, TASK_WEIGHTS = "model.weights.h5", "task.weights.h5"
_LARGEST_DEPTH = 16  # of groups in groups
_DENSE = "layers/dense"


class KerasHubFile(TensorFile):
    """The open weights of a preset directory: "model/..." of the backbone, and the last layers of a task.

    HDF5 can link to other files, compute data and decompress it. Only plain arrays are read, which the file holds as they are.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / WEIGHTS
        self._arrays: dict[str, h5py.Dataset] = {}
        with ExitStack() as stack:
            for name, start in ((WEIGHTS, "model"), (TASK_WEIGHTS, "task")):
                path = folder / name
                if name == TASK_WEIGHTS and not path.is_file():
                    continue
                size = check_regular(path)
                with errors_of_reading(path), path.open("rb") as readable:
                    readable.read(1)
                try:
                    found = _list_arrays(stack.enter_context(h5py.File(path, "r")), path)
                except VitKerasError:
                    raise
                except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:  # h5py's, for damaged files
                    raise CorruptFileError(f"{path}: not a complete HDF5 file ({error}).") from error
                if sum(array.nbytes for array in found.values()) > size:
                    raise UnsafeFileError(f"{path}: its arrays claim to be larger than the file.")
                self._arrays |= found if start == "model" else _name_head(found)
            self._opened = stack.pop_all()
        self.tensors = {name: TensorInfo(array.shape, array.dtype.name) for name, array in self._arrays.items()}

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor in its own dtype."""
        try:
            return np.asarray(self._arrays[name][()])
        except (OSError, ValueError, RuntimeError) as error:
            raise CorruptFileError(f"{self.path}: {name} is damaged ({error}).") from error


def _list_arrays(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Returns the arrays of a file by their paths, after checking that each is plain."""
    found: dict[str, h5py.Dataset] = {}
    waiting: list[tuple[str, h5py.Group, int]] = [("", file, 0)]
    seen = 0
    while waiting:
        start, group, depth = waiting.pop()
        for key in group:
            name, seen = f"{start}{key}", seen + 1
            if seen > LARGEST_COUNT or depth > _LARGEST_DEPTH:
                raise UnsafeFileError(f"{path}: its groups are too many or too deep.")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise UnsafeFileError(f"{path}: {name} is a link, perhaps to another file; it was not followed.")
            item = group[key]
            if isinstance(item, h5py.Group):
                waiting.append((f"{name}/", item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                _check_array(item, name, path)
                found[name] = item
    return found


def _check_array(array: h5py.Dataset, name: str, path: Path) -> None:
    is_number = array.dtype.kind in "fiub" and array.dtype.isnative
    if array.is_virtual or array.external or array.chunks is not None or not is_number:
        raise UnsafeFileError(f"{path}: {name} is no plain array of numbers in this file; it was not read.")
    if array.id.get_storage_size() != math.prod(array.shape) * array.dtype.itemsize:
        raise CorruptFileError(f"{path}: {name} of {array.shape} has other than its number of bytes.")


def _name_head(arrays: dict[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Returns the arrays of a task's last layers by the layers' names: Keras numbers them in their order."""
    has_two = any(name.startswith(f"{_DENSE}_1/") for name in arrays)
    names = {_DENSE: "pre_logits", f"{_DENSE}_1": "predictions"} if has_two else {_DENSE: "predictions"}
    return {
        f"{layer}/{name.removeprefix(start)[1:]}": array
        for name, array in arrays.items()
        for start, layer in names.items()
        if name.startswith(f"{start}/")
    }
