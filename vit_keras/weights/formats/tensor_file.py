"""What a checkpoint file is to its readers: what it holds by name, shape and number format, and its numbers by name."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vit_keras.errors import InvalidArgumentError, StorageError

LARGEST_COUNT = 20_000
"""Tensors in a file; no ViT has a tenth of that."""


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor before its numbers are read.

    Args:
        shape: Its sides.
        dtype: NumPy's name of its number format, "bfloat16" included; the file's own where NumPy has none.
    """

    shape: tuple[int, ...]
    dtype: str


class TensorFile(Protocol):
    """An open checkpoint; a context manager that closes it."""

    path: Path
    tensors: Mapping[str, TensorInfo]

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor's numbers, of their own format."""

    def close(self) -> None:
        """Closes it."""

    def __enter__(self) -> "TensorFile": ...

    def __exit__(self, *error: object) -> None: ...


def check_regular(path: Path) -> int:
    """Returns the size in bytes of a regular file; a pipe or a device would be waited on for ever.

    Raises:
        StorageError: It is not there or can't be looked at.
        InvalidArgumentError: It is something else than a file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: there is no such file ({error}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgumentError(f"{path}: this is no regular file.")
    return status.st_size
