"""Reads a checkpoint that is split into several safetensors files with an index."""

from contextlib import ExitStack
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from vit_keras.errors import CorruptFileError, UnsafeFileError
from vit_keras.runtime.strict_json import parse_json
from vit_keras.weights.formats.safetensors import LARGEST_HEADER, SafetensorsFile
from vit_keras.weights.formats.tensor_file import TensorFile, check_regular, errors_of_reading

_LARGEST_SHARDS = 256


class ShardedFile(TensorFile):
    """The open shards of a checkpoint, in the same folder as their index `*.safetensors.index.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shard_of = _read_index(path)
        self._shards: dict[str, SafetensorsFile] = {}
        with ExitStack() as stack:
            for shard in dict.fromkeys(self._shard_of.values()):
                self._shards[shard] = stack.enter_context(SafetensorsFile(path.with_name(shard)))
                self._check(shard)
            self._opened = stack.pop_all()
        self.tensors = {name: self._shards[shard].tensors[name] for name, shard in self._shard_of.items()}

    def _check(self, shard: str) -> None:
        expected = {name for name, file in self._shard_of.items() if file == shard}
        wrong = sorted(expected ^ self._shards[shard].tensors.keys())
        if wrong:
            first = wrong[0]
            where = "is missing" if first in expected else f"should be in {self._shard_of.get(first, 'no file')}"
            raise CorruptFileError(
                f"{self.path}: tensors of {shard} that differ from the index: {len(wrong)}, the first {first!r}, which {where}."
            )

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor in its own dtype."""
        return self._shards[self._shard_of[name]].read(name)


def _read_index(path: Path) -> dict[str, str]:
    size = check_regular(path)
    if size > LARGEST_HEADER:
        raise CorruptFileError(f"{path}: an index of {size} bytes is too large; the limit is {LARGEST_HEADER}.")
    with errors_of_reading(path):
        index = parse_json(path.read_bytes(), path)
    shard_of = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise CorruptFileError(f'{path}: no "weight_map" from tensor names to files, which an index must have.')
    shards = set(map(str, shard_of.values()))
    elsewhere = sorted(shard for shard in shards if not _is_bare(shard))
    if elsewhere or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise UnsafeFileError(f"{path}: shards must be in the folder of their index; it names {elsewhere[:3]}.")
    if len(shards) > _LARGEST_SHARDS:
        raise CorruptFileError(f"{path}: {len(shards)} shards are too many; the limit is {_LARGEST_SHARDS}.")
    return shard_of


def _is_bare(name: str) -> bool:
    """Whether a name is that of a safetensors file without a folder, on every operating system."""
    bare = PurePosixPath(name).name == name == PureWindowsPath(name).name
    return bare and name.isprintable() and not name.startswith(".") and name.endswith(".safetensors")
