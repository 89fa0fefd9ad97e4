"""Opens a checkpoint file by its content, and refuses unsafe formats."""

import re
from pathlib import Path

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError
from vit_keras.validation import list_words
from vit_keras.weights.formats.keras_hub import WEIGHTS, KerasHubFile
from vit_keras.weights.formats.npz import NpzFile
from vit_keras.weights.formats.safetensors import SafetensorsFile
from vit_keras.weights.formats.sharded import ShardedFile
from vit_keras.weights.formats.tensor_file import TensorFile, check_regular, errors_of_reading
from vit_keras.weights.formats.torch_zip import TorchFile

_SAFETENSORS, _NPZ = ".safetensors", ".npz"
_INDEX = ".safetensors.index.json"
STANDARD_NAMES = (
    f"model{_SAFETENSORS}",
    f"model{_INDEX}",
    "pytorch_model.bin",
)  # that libraries use beside a config.json
OPEN_CLIP_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # beside an open_clip_config.json
_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.safetensors")
_SHOWN = 10
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"}
_KERAS = {".h5", ".hdf5", ".keras"}
_UNKNOWN = "of an unknown kind"
_TORCH = "a pickle of torch.save"
_TORCH_MEMBER = re.compile(
    rb"(?:[^/]+/)?(?:data\.pkl|data/\d+|version|byteorder|\.format_version|constants\.pkl|code/.*)"
)
_CONVERT = """Unpickling can run code, so vit_keras does not do it. If it is a torch file, these lines of torch turn it into safetensors:
import torch, safetensors.torch; state = torch.load({path!r}, map_location="cpu", weights_only=True)  # or False, if you trust it
state = state.state_dict() if hasattr(state, "state_dict") else state.get("model", state.get("state_dict", state))
safetensors.torch.save_file({{n: t.contiguous().clone() for n, t in state.items() if torch.is_tensor(t)}}, {out!r})"""
_SPLIT = {
    "pytorch_model.bin.index.json": "Write them as safetensors: AutoModel.from_pretrained(IN).save_pretrained(OUT), with transformers.",
    "model.weights.json": "Write them as one: keras_hub.models.Backbone.from_preset(IN).save_to_preset(OUT, max_shard_size=None).",
}  # lists of files that are not read together, and what to do
_LOAD = (
    "Reading Keras and HDF5 files can run code (Lambda layers) or read other files (links), so they are refused. If you trust "
    "it, load it with Keras, and save the model with vit_keras.save_preset or vit_keras.weights.write. "
    "The folder of a KerasHub preset is read by its own path, without running code."
)
_UNSAFE = {"a pickle": _CONVERT, _TORCH: _CONVERT, "an HDF5 file": _LOAD, "a Keras model": _LOAD}
_MAGICS = {
    b"PK\x05\x06": "an empty zip file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a single NumPy array",
    b"version https://": "a Git LFS pointer whose file was not downloaded",
    b"<": "a web page",
    b"\x1f\x8b": "a gzip file",
}


def open_tensors(path: str | Path) -> TensorFile:
    """Opens a `.safetensors` file, an index of sharded ones, an `.npz`, or a file of `torch.save`; the content decides.

    Files of `torch.save` are read without unpickling: only tensors in dictionaries, and nothing that could run.

    Args:
        path: The file, a preset directory of KerasHub, or a directory with `model.safetensors` or its index, else with one file of weights by any name. One shard
            stands for all that its index names.

    Raises:
        StorageError: The file does not exist or cannot be read.
        UnsafeFileError: It is another pickle, an HDF5 or Keras file, or would fill the memory.
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
    path = Path(path)
    if is_keras_hub(path):
        return KerasHubFile(path)
    path = _find_file(path)
    if path.name.endswith(_INDEX):
        return ShardedFile(path)
    suffix = path.suffix.lower()
    if suffix in _KERAS:
        raise UnsafeFileError(f"{path}: weights are not read from {suffix}. {_LOAD}")
    kind = _detect_kind(path)
    if kind == _TORCH and suffix not in (_SAFETENSORS, _NPZ):
        return _open_torch(path)
    if suffix in _PICKLES and kind == _UNKNOWN:
        kind = "a pickle"  # early versions of the format have no sign
    if kind in _UNSAFE:
        raise UnsafeFileError(f"{path}: this is {kind}. {_explain(kind, path)}")
    is_readable, is_named_readable = kind in (_SAFETENSORS, _NPZ), suffix in (_SAFETENSORS, _NPZ)
    if not is_readable and is_named_readable:
        raise CorruptFileError(f"{path}: its name ends in {suffix}, but it is {kind}. Download or copy it again.")
    if not is_readable:
        raise InvalidArgumentError(
            f"{path}: this is {kind}; weights are read from .safetensors, .npz and files of torch.save."
        )
    if is_named_readable and suffix != kind:
        raise CorruptFileError(f"{path}: its name ends in {suffix}, but inside it is a {kind} file; rename it.")
    return SafetensorsFile(path) if kind == _SAFETENSORS else NpzFile(path)


def is_keras_hub(path: Path) -> bool:
    """Whether a path is a preset directory of KerasHub, by the names of its files."""
    return (path / WEIGHTS).is_file() and (path / "config.json").is_file() and not (path / STANDARD_NAMES[0]).is_file()


def _open_torch(path: Path) -> TensorFile:
    try:
        return TorchFile(path)
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{error} {_explain(_TORCH, path)}") from error


def _explain(kind: str, path: Path) -> str:
    return _UNSAFE[kind].format(path=str(path), out=str(path.with_suffix(_SAFETENSORS)))


def _find_file(path: Path) -> Path:
    """Returns the file that holds all tensors: of a directory, its only checkpoint; of one shard, the index beside it."""
    if not path.is_dir():
        check_regular(path)
        shard = _SHARD.fullmatch(path.name)
        index = path.with_name(f"{shard['stem']}{_INDEX}") if shard is not None else None
        if shard is None or index is None or int(shard["count"]) == 1:
            return path
        if index.is_file():
            return index
        raise StorageError(
            f"{path}: this is one of {int(shard['count'])} files of a checkpoint, whose index {index.name} is not beside it: copy "
            "the index and all files into one folder."
        )
    for name in (*STANDARD_NAMES, *OPEN_CLIP_NAMES):
        if (path / name).is_file():
            return path / name
    with errors_of_reading(path):
        names = sorted(item.name for item in path.iterdir() if item.is_file())
    split = next((name for name in names if name in _SPLIT), None)
    if split is not None:
        raise InvalidArgumentError(
            f"{path}: its weights are split into several files, of which {split} is the list. {_SPLIT[split]}"
        )
    choices = [name for name in names if name.endswith(_INDEX)]
    choices += [name for name in names if name.endswith((_SAFETENSORS, _NPZ)) and not _SHARD.fullmatch(name)]
    choices = choices or [name for name in names if name.endswith(_SAFETENSORS)]
    if len(choices) > 1:
        raise InvalidArgumentError(
            f"{path}: this folder has several checkpoints; give the path of one: {list_words(choices, limit=_SHOWN)}."
        )
    if choices:
        return path / choices[0]
    others = [name for name in names if Path(name).suffix.lower() in _PICKLES | _KERAS]
    if len(others) == 1:
        return path / others[0]
    found = (
        f"; give the path of one of its {list_words(others, limit=_SHOWN)}"
        if others
        else f"; it has {list_words(names, limit=_SHOWN)}"
        if names
        else ""
    )
    raise StorageError(
        f"{path}: this folder has neither {' nor '.join(STANDARD_NAMES)}, nor another .safetensors or .npz{found}."
    )


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
            if _TORCH_MEMBER.fullmatch(name):
                return _TORCH
            return "a Keras model" if name in (b"metadata.json", b"config.json") else _NPZ
    if start.startswith(b"\x80") and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle"
    unknown = _SAFETENSORS if path.suffix.lower() == _SAFETENSORS else _UNKNOWN
    return next((kind for magic, kind in _MAGICS.items() if start.startswith(magic)), unknown)
