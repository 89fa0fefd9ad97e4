"""The interface of an open checkpoint file."""

import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from vit_keras.errors import InvalidArgumentError, StorageError, VitKerasError

LARGEST_COUNT = 20_000  # tensors in a file; no ViT has a tenth of that


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a tensor, known before its data is read."""

    shape: tuple[int, ...]
    dtype: str  # NumPy's name, "bfloat16" included; the file's own name where NumPy has none


class TensorFile:
    """An open checkpoint: named tensors. A context manager that closes the file."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    _opened = ExitStack()  # what `close` closes

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor in its own dtype."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the file."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def errors_of_reading(path: Path) -> Iterator[None]:
    """Raises `StorageError` in place of the system's errors."""
    try:
        yield
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error


@contextmanager
def prefix_errors(where: object) -> Iterator[None]:
    """Puts the file in front of the message of an `InvalidArgumentError`."""
    try:
        yield
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from error


def check_regular(path: Path) -> int:
    """Returns the size of a regular file in bytes; reading a pipe or a device could block forever."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: there is no such file ({error}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgumentError(f"{path}: this is no regular file.")
    return status.st_size
