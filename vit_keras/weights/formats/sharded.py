"""One checkpoint in several safetensors files, as an index names them."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from vit_keras.errors import CorruptFileError, StorageError, UnsafeFileError
from vit_keras.runtime.strict_json import parse_json
from vit_keras.weights.formats.safetensors import LARGEST_HEADER, SafetensorsFile
from vit_keras.weights.formats.tensor_file import TensorInfo, check_regular

_LARGEST_SHARDS = 256


class ShardedFile:
    """The open files that an index names.

    Args:
        path: The index, `*.safetensors.index.json`; its files lie beside it.

    Raises:
        StorageError: The index or a file is not there.
        CorruptFileError: The index or a file is damaged, names a place elsewhere, or the two disagree.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shard_of = _read_index(path)
        self._stack = ExitStack()
        self._shards: dict[str, SafetensorsFile] = {}
        try:
            for shard in dict.fromkeys(self._shard_of.values()):
                self._shards[shard] = self._stack.enter_context(SafetensorsFile(path.with_name(shard)))
                self._check(shard)
        except BaseException:
            self._stack.close()
            raise
        self.tensors: Mapping[str, TensorInfo] = {
            name: self._shards[shard].tensors[name] for name, shard in self._shard_of.items()
        }

    def _check(self, shard: str) -> None:
        expected = {name for name, file in self._shard_of.items() if file == shard}
        found = self._shards[shard].tensors.keys()
        wrong = sorted(expected ^ found)
        if wrong:
            first = wrong[0]
            where = "is not there" if first in expected else f"should be in {self._shard_of.get(first, 'no file')}"
            raise CorruptFileError(
                f"{self.path}: {len(wrong)} tensors of {shard} differ from the index, the first {first!r}, which {where}."
            )

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor's numbers, of their own format."""
        return self._shards[self._shard_of[name]].read(name)

    def close(self) -> None:
        """Closes every file."""
        self._stack.close()

    def __enter__(self) -> "ShardedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _read_index(path: Path) -> dict[str, str]:
    """Returns the file of each tensor."""
    size = check_regular(path)
    if size > LARGEST_HEADER:
        raise CorruptFileError(f"{path}: {size} bytes are too many for an index; the limit is {LARGEST_HEADER}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error
    index = parse_json(content, path)
    shard_of = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise CorruptFileError(f'{path}: an index has a "weight_map" from tensor names to files; this has none.')
    shards = set(map(str, shard_of.values()))
    elsewhere = sorted(shard for shard in shards if not _is_bare(shard))
    if elsewhere or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise UnsafeFileError(f"{path}: files lie beside their index; it names {elsewhere[:3]}.")
    if len(shards) > _LARGEST_SHARDS:
        raise CorruptFileError(f"{path}: {len(shards)} files are too many; the limit is {_LARGEST_SHARDS}.")
    return shard_of


def _is_bare(name: str) -> bool:
    """Whether a name is a safetensors file's without any folder, on every system."""
    bare = PurePosixPath(name).name == name == PureWindowsPath(name).name
    return bare and name.isprintable() and not name.startswith(".") and name.endswith(".safetensors")
