"""Opens a checkpoint file by its content, and refuses unsafe formats."""

from pathlib import Path

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError
from vit_keras.weights.formats.npz import NpzFile
from vit_keras.weights.formats.safetensors import SafetensorsFile
from vit_keras.weights.formats.sharded import ShardedFile
from vit_keras.weights.formats.tensor_file import TensorFile, check_regular, errors_of_reading

_SAFETENSORS, _NPZ = ".safetensors", ".npz"
_INDEX = ".safetensors.index.json"
STANDARD_NAMES = (f"model{_SAFETENSORS}", f"model{_INDEX}")  # that libraries use beside a config.json
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"}
_KERAS = {".h5", ".hdf5", ".keras"}
_CONVERT = (
    "Reading a pickle can run code, so it is refused. If you trust it, load it with the library that wrote it, and save it with "
    "safetensors.torch.save_file."
)
_LOAD = (
    "Reading Keras and HDF5 files can run code (Lambda layers) or read other files (links), so they are refused. If you trust "
    "it, load it with Keras, and save the model with vit_keras.save_preset or vit_keras.weights.write."
)
_UNSAFE = {"a pickle": _CONVERT, "an HDF5 file": _LOAD, "a Keras model": _LOAD}
_MAGICS = {
    b"PK\x05\x06": "an empty zip file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a single NumPy array",
    b"version https://": "a Git LFS pointer whose file was not downloaded",
    b"<": "a web page",
    b"\x1f\x8b": "a gzip file",
}


def open_tensors(path: str | Path) -> TensorFile:
    """Opens a `.safetensors` file, an index of sharded ones, or an `.npz`; the content decides, not the name alone.

    Args:
        path: The file, or a directory with `model.safetensors` or its index.

    Raises:
        StorageError: The file does not exist or cannot be read.
        UnsafeFileError: It is a pickle, HDF5 or Keras file, or would fill the memory.
        InvalidArgumentError: It has another format, or is no regular file.
        CorruptFileError: It is damaged, or its content contradicts its name.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from vit_keras.weights import write_tensors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors({"cls_token": np.zeros((1, 1, 192))}, Path(folder) / "model.safetensors")
        ...     with open_tensors(folder) as file:
        ...         dict(file.tensors)
        {'cls_token': TensorInfo(shape=(1, 1, 192), dtype='float64')}
    """
    path = _find_file(Path(path))
    if path.name.endswith(_INDEX):
        return ShardedFile(path)
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise UnsafeFileError(f"{path}: files ending in {suffix} are pickles. {_CONVERT}")
    if suffix in _KERAS:
        raise UnsafeFileError(f"{path}: weights are not read from {suffix}. {_LOAD}")
    kind = _detect_kind(path)
    if kind in _UNSAFE:
        raise UnsafeFileError(f"{path}: this is {kind}. {_UNSAFE[kind]}")
    is_readable, is_named_readable = kind in (_SAFETENSORS, _NPZ), suffix in (_SAFETENSORS, _NPZ)
    if not is_readable and is_named_readable:
        raise CorruptFileError(f"{path}: its name ends in {suffix}, but it is {kind}. Download or copy it again.")
    if not is_readable:
        raise InvalidArgumentError(f"{path}: this is {kind}; weights are read from .safetensors and .npz.")
    if is_named_readable and suffix != kind:
        raise CorruptFileError(f"{path}: its name ends in {suffix}, but inside it is a {kind} file; rename it.")
    return SafetensorsFile(path) if kind == _SAFETENSORS else NpzFile(path)


def _find_file(path: Path) -> Path:
    if not path.is_dir():
        check_regular(path)
        return path
    for name in STANDARD_NAMES:
        if (path / name).is_file():
            return path / name
    raise StorageError(f"{path}: this folder has neither {' nor '.join(STANDARD_NAMES)}.")


def _detect_kind(path: Path) -> str:
    """Returns ".safetensors", ".npz", or a description of what the first bytes show."""
    with errors_of_reading(path), path.open("rb") as file:
        start = file.read(16)
        # Before pickles: a header of 640 bytes starts like one.
        if start[8:9] == b"{" and start[4:8] == bytes(4):
            return _SAFETENSORS
        if start.startswith(b"PK\x03\x04"):
            # The first member's name is in the local header, the list of members only at the end of the file.
            file.seek(26)
            length = int.from_bytes(file.read(2), "little")
            file.seek(30)
            name = file.read(length)
            if name == b"data.pkl" or name.endswith((b"/data.pkl", b"/version", b"/.format_version", b"/byteorder")):
                return "a pickle"
            return "a Keras model" if name in (b"metadata.json", b"config.json") else _NPZ
    if start.startswith(b"\x80") and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle"
    unknown = _SAFETENSORS if path.suffix.lower() == _SAFETENSORS else "of an unknown kind"
    return next((kind for magic, kind in _MAGICS.items() if start.startswith(magic)), unknown)
