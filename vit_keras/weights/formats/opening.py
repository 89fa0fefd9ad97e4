"""Checkpoint files opened by what is in them."""

from pathlib import Path

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError
from vit_keras.weights.formats.npz import NpzFile
from vit_keras.weights.formats.safetensors import SafetensorsFile
from vit_keras.weights.formats.sharded import ShardedFile
from vit_keras.weights.formats.tensor_file import TensorFile, check_regular

_SAFETENSORS, _NPZ = ".safetensors", ".npz"
_INDEX = ".safetensors.index.json"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"}
_KERAS = {".h5", ".hdf5", ".keras"}
_CONVERT = (
    "A pickle can run code when it is read, so it is not. Where you trust it: load it with the library that wrote it, "
    "and write it again with safetensors.torch.save_file."
)
_LOAD = (
    "Files of Keras and HDF5 can run code when they are read, in Lambda layers, or take in other files, by links, so they are "
    "not. Where you trust it: load it with Keras, and write the model with vit_keras.save_preset or vit_keras.weights.write."
)
_UNSAFE = {"a pickle": _CONVERT, "an HDF5 file": _LOAD, "a model of Keras": _LOAD}
_MAGICS = {
    b"PK\x05\x06": "an empty zip file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a single NumPy array",
    b"version https://": "a Git LFS pointer, whose file was not downloaded",
    b"<": "a web page",
    b"\x1f\x8b": "a gzip file",
}


def open_tensors(path: str | Path) -> TensorFile:
    """Opens a `.safetensors` file, an index of several, or an `.npz`; by what is in it, not by its name alone.

    Args:
        path: The file, or a folder with a `model.safetensors` or its index.

    Raises:
        StorageError: It is not there or can't be read.
        UnsafeFileError: It is a pickle, HDF5 or Keras' own, or would fill the memory.
        InvalidArgumentError: It is of another kind that is not read here, or no regular file.
        CorruptFileError: It is damaged, or not what its name says.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from vit_keras.weights.store import write_tensors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors({"cls_token": np.zeros((1, 1, 192))}, Path(folder) / "model.safetensors")
        ...     with open_tensors(folder) as file:
        ...         dict(file.tensors)
        {'cls_token': TensorInfo(shape=(1, 1, 192), dtype='float64')}
    """
    path = _file_of(Path(path))
    if path.name.endswith(_INDEX):
        return ShardedFile(path)
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise UnsafeFileError(f"{path}: files ending in {suffix} are pickles. {_CONVERT}")
    if suffix in _KERAS:
        raise UnsafeFileError(f"{path}: weights are not read from {suffix}. {_LOAD}")
    kind = _kind_of(path)
    if kind in _UNSAFE:
        raise UnsafeFileError(f"{path}: this is {kind}. {_UNSAFE[kind]}")
    if kind not in (_SAFETENSORS, _NPZ) and suffix in (_SAFETENSORS, _NPZ):
        raise CorruptFileError(
            f"{path}: its name ends in {suffix}, but it is {kind}. Get it once more from where it came from."
        )
    if kind not in (_SAFETENSORS, _NPZ):
        raise InvalidArgumentError(f"{path}: this is {kind}; weights are read from .safetensors and .npz.")
    if suffix in (_SAFETENSORS, _NPZ) and suffix != kind:
        raise CorruptFileError(f"{path}: its name ends in {suffix}, but inside it is a {kind} file; rename it.")
    return SafetensorsFile(path) if kind == _SAFETENSORS else NpzFile(path)


def is_standard_name(path: Path) -> bool:
    """Whether a file is called as libraries call it in a directory with its config.json.

    Args:
        path: The file.
    """
    return path.name in (f"model{_SAFETENSORS}", f"model{_INDEX}")


def _file_of(path: Path) -> Path:
    if path.is_dir():
        candidates = [path / f"model{_SAFETENSORS}", path / f"model{_INDEX}"]
        found = [candidate for candidate in candidates if candidate.is_file()]
        if not found:
            raise StorageError(f"{path}: this folder has neither {candidates[0].name} nor {candidates[1].name}.")
        return found[0]
    check_regular(path)
    return path


def _kind_of(path: Path) -> str:
    """Returns ".safetensors", ".npz", or what else the first bytes say."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error
    if start[8:9] == b"{" and start[4:8] == bytes(4):  # before pickles: a header of 640 bytes starts like one
        return _SAFETENSORS
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if start.startswith(b"\x80") and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle"
    by_magic = next((kind for magic, kind in _MAGICS.items() if start.startswith(magic)), None)
    if by_magic is not None:
        return by_magic
    return path.suffix.lower() if path.suffix.lower() == _SAFETENSORS else "of no kind known here"


def _kind_of_zip(path: Path) -> str:
    """Returns what a zip file is by its first member's name: its list of members stands at its end."""
    with path.open("rb") as file:
        file.seek(26)
        length = int.from_bytes(file.read(2), "little")
        file.seek(30)
        name = file.read(length)
    if name.endswith((b"/data.pkl", b"/version", b"/.format_version", b"/byteorder")) or name == b"data.pkl":
        return "a pickle"
    return "a model of Keras" if name in (b"metadata.json", b"config.json") else _NPZ
