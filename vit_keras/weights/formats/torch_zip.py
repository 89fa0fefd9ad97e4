"""Reads a file of `torch.save` without unpickling it: no object is created and no code runs but this module's.

The file is a zip of one pickle, which says which tensor is where, and of one member per storage, which holds numbers alone. A
pickle is a program for a stack machine. `_Machine` runs it with the operations that dictionaries of tensors need: names of classes
and functions stay strings, are compared with an allow-list, and are never imported or called.

Compared with torch 2.13, `serialization.py` and `_utils.py`. torch's `weights_only=True` works in the same way.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it
import numpy as np
import numpy.typing as npt

from vit_keras.errors import CorruptFileError, UnsafeFileError
from vit_keras.weights.formats.tensor_file import (
    LARGEST_COUNT,
    TensorFile,
    TensorInfo,
    check_regular,
    errors_of_reading,
)

_LARGEST_PICKLE = 8 * 2**20  # bytes; 1,000 tensors with their optimizer state need a third of one
_LARGEST_DEPTH = 8  # of dictionaries in dictionaries
_LARGEST_RANK = 32  # of arrays in every NumPy version
_LARGEST_ENTRIES = 200_000  # of all dictionaries
_TORCH = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
}  # fmt: skip
_STORAGES = {f"torch {name}": dtype for name, dtype in _TORCH.items()}
_TENSORS = {"torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2"}
_PARAMETERS = {"torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state"}
_DICTS = {"collections OrderedDict", "collections defaultdict"}
# What training scripts put beside the tensors: settings and counters, which become nothing.
_NO_TENSORS = {
    "argparse Namespace", "types SimpleNamespace", "yacs.config CfgNode", "easydict EasyDict", "typing Any",
    "omegaconf.dictconfig DictConfig", "omegaconf.listconfig ListConfig", "omegaconf.nodes AnyNode", "omegaconf.base Metadata",
    "omegaconf.base ContainerMetadata", "pathlib._local PosixPath", "pathlib PosixPath", "pathlib WindowsPath", "pathlib PurePosixPath", "pathlib PureWindowsPath",
    "collections Counter", "copy_reg _reconstructor", "copyreg _reconstructor", "__builtin__ object", "builtins object",
    "__builtin__ set", "builtins set", "__builtin__ dict", "builtins dict", "__builtin__ list", "builtins list",
    "__builtin__ int", "builtins int", "_codecs encode", "numpy dtype", "numpy ndarray",
    *(f"{module}.multiarray {name}" for module in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
    "torch Size", "torch device",
    *(f"torch {dtype}" for dtype in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
}  # fmt: skip
_ALLOWED = {*_STORAGES, *_TENSORS, *_PARAMETERS, *_DICTS, *_NO_TENSORS}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip


@dataclass(frozen=True)
class _Name:
    """A class or function that the pickle names."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # numbers


class _Nothing:
    """Stands for an object that holds no tensor."""


class _Mark:
    """Where an operation's arguments begin on the stack."""


class _RefusedError(Exception):
    """A pickle that does more than describe tensors."""


class TorchFile(TensorFile):
    """An open file of `torch.save`: the tensors of all its dictionaries, whose keys are joined by dots."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = check_regular(path)
        with ExitStack() as stack:
            try:
                with errors_of_reading(path):
                    self._zip = stack.enter_context(zipfile.ZipFile(path))
                self._members = _check_members(self._zip.infolist(), path, size)
                content = self._zip.read(self._members["data.pkl"])
                order = self._zip.read(self._members["byteorder"]) if "byteorder" in self._members else b"little"
                self._tensors = _list_tensors(_Machine().run(content))
            except _RefusedError as error:
                raise UnsafeFileError(f"{path}: {error}; nothing of it was run.") from error
            except (UnsafeFileError, CorruptFileError):
                raise
            except Exception as error:  # zipfile and pickletools raise a dozen kinds of errors for damaged files
                raise CorruptFileError(f"{path}: not a complete file of torch.save ({error}).") from error
            if order != b"little":
                raise CorruptFileError(f"{path}: its numbers are big-endian; save it again on another machine.")
            for name, tensor in self._tensors.items():
                self._check(name, tensor)
            self._opened = stack.pop_all()
        self._shared: tuple[str, npt.NDArray[np.generic]] | None = None
        self.tensors = {name: TensorInfo(tensor.shape, tensor.storage.dtype) for name, tensor in self._tensors.items()}

    def _check(self, name: str, tensor: _Tensor) -> None:
        storage, member = tensor.storage, self._members.get(f"data/{tensor.storage.key}")
        if member is None or member.file_size != storage.count * np.dtype(storage.dtype).itemsize:
            raise CorruptFileError(f"{self.path}: the numbers of {name} are missing, or not as many as the file says.")
        last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
        # A view that repeats numbers could fill the memory.
        if math.prod(tensor.shape) > storage.count or (0 not in tensor.shape and last >= storage.count):
            raise CorruptFileError(f"{self.path}: {name} of {tensor.shape} is larger than its {storage.count} numbers.")

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns one tensor in its own dtype."""
        tensor = self._tensors[name]
        storage = tensor.storage
        numbers = self._shared[1] if self._shared is not None and self._shared[0] == storage.key else None
        if numbers is None:
            try:
                with errors_of_reading(self.path):
                    raw = self._zip.read(self._members[f"data/{storage.key}"])  # zipfile compares the checksum
            except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError) as error:
                raise CorruptFileError(f"{self.path}: {name} is damaged ({error}).") from error
            numbers = np.frombuffer(raw, storage.dtype)
            self._shared = (storage.key, numbers) if math.prod(tensor.shape) < storage.count else None
        if 0 in tensor.shape:
            return np.empty(tensor.shape, storage.dtype)
        steps = tuple(step * numbers.itemsize for step in tensor.strides)
        view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps)
        return np.array(view, order="C")


def _check_members(members: list[zipfile.ZipInfo], path: Path, size: int) -> dict[str, zipfile.ZipInfo]:
    """Returns the members by their names in the archive's only folder, after checking what zipfile does not."""
    by_name = {member.filename.partition("/")[2]: member for member in members}
    if len(members) > LARGEST_COUNT * 4 or len({member.filename.partition("/")[0] for member in members}) > 1:
        raise UnsafeFileError(f"{path}: {len(members)} members in several folders are not a file of torch.save.")
    if len(by_name) < len(members):
        raise CorruptFileError(f"{path}: two members have the same name.")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:
            raise UnsafeFileError(
                f"{path}: {member.filename} is compressed or encrypted, which torch.save does not do."
            )
    if sum(member.file_size for member in members) > size:
        raise UnsafeFileError(f"{path}: its members claim to be larger than the file.")
    if "data.pkl" not in by_name:
        raise CorruptFileError(f"{path}: not a complete file of torch.save: it has no data.pkl.")
    if "constants.pkl" in by_name:
        raise UnsafeFileError(
            f"{path}: this is a TorchScript program: its tensors are torch.jit.load(path).state_dict()."
        )
    if by_name["data.pkl"].file_size > _LARGEST_PICKLE:
        raise UnsafeFileError(f"{path}: data.pkl is larger than {_LARGEST_PICKLE} bytes.")
    return by_name


def _list_tensors(root: object) -> dict[str, _Tensor]:
    """Returns the tensors of nested dictionaries, by their keys joined by dots."""
    found: dict[str, _Tensor] = {}
    entries = 0

    def visit(prefix: str, value: object, depth: int) -> None:
        nonlocal entries
        if isinstance(value, _Tensor):
            found[prefix] = value
        elif isinstance(value, dict):
            entries += len(value)
            if entries > _LARGEST_ENTRIES or len(found) > LARGEST_COUNT or depth > _LARGEST_DEPTH:
                raise _RefusedError("its dictionaries are too many or too deep")
            for key, item in value.items():
                visit(f"{prefix}.{key}" if prefix else key, item, depth + 1)

    visit("", root, 0)
    found.pop("", None)  # a single tensor, which has no name
    return found


class _Machine:
    """Runs the part of the pickle language that describes tensors in dictionaries."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._operations: Mapping[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "MARK": lambda _: self._stack.append(_Mark()),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "EMPTY_LIST": lambda _: self._stack.append([]),
            "EMPTY_TUPLE": lambda _: self._stack.append(()),
            "EMPTY_SET": lambda _: self._stack.append(_Nothing()),
            "ADDITEMS": lambda _: self._drop_to_mark(),
            "TUPLE": lambda _: self._stack.append(tuple(self._pop_to_mark())),
            "TUPLE1": lambda _: self._stack.append(tuple(self._pop_many(1))),
            "TUPLE2": lambda _: self._stack.append(tuple(self._pop_many(2))),
            "TUPLE3": lambda _: self._stack.append(tuple(self._pop_many(3))),
            "APPEND": lambda _: self._append(self._pop_many(1)),
            "APPENDS": lambda _: self._append(self._pop_to_mark()),
            "SETITEM": lambda _: self._set_items(self._pop_many(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINGET": lambda key: self._stack.append(self._memo[key]),
            "LONG_BINGET": lambda key: self._stack.append(self._memo[key]),
            "GLOBAL": lambda name: self._stack.append(_allow(str(name))),
            "STACK_GLOBAL": lambda _: self._stack.append(_allow(" ".join(map(str, self._pop_many(2))))),
            "REDUCE": lambda _: self._reduce(),
            "NEWOBJ": lambda _: self._new(),
            "BUILD": lambda _: self._build(),
            "BINPERSID": lambda _: self._stack.append(_find_storage(self._pop())),
        }

    def run(self, content: bytes) -> Any:
        """Returns what the pickle describes: dictionaries with strings as keys, lists, numbers and tensors."""
        for operation, argument, _ in pickletools.genops(content):
            if operation.name == "STOP":
                return self._pop()
            if operation.name in _VALUES:
                self._stack.append(argument)
            elif operation.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[operation.name])
            elif operation.name in self._operations:
                self._operations[operation.name](argument)
            else:
                raise _RefusedError(
                    f"its pickle has the operation {operation.name}, which no dictionary of tensors needs"
                )
        raise ValueError("the pickle has no end")

    def _pop(self) -> Any:
        return self._stack.pop()

    def _pop_many(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("the pickle takes more than it has")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while not isinstance(self._stack[-1], _Mark):
            values.append(self._stack.pop())
        self._stack.pop()
        return values[::-1]

    def _drop_to_mark(self) -> None:
        self._pop_to_mark()  # items of a set, which holds no tensors

    def _put(self, key: Any) -> None:
        self._memo[key] = self._stack[-1]

    def _append(self, values: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            # Other keys than strings, such as an optimizer's numbers, name no tensor of a model; hashing a tuple may take forever.
            pairs = zip(values[::2], values[1::2], strict=True)
            target.update({key: value for key, value in pairs if type(key) is str})

    def _reduce(self) -> None:
        function, arguments = self._pop_many(2)
        name = function.name if isinstance(function, _Name) else None
        if name in _TENSORS:
            self._stack.append(_make_tensor(*arguments[:4]))
        elif name in _PARAMETERS:
            self._stack.append(arguments[0])
        elif name in _DICTS:
            self._stack.append({})
        elif name is not None:
            self._stack.append(_Nothing())
        else:
            raise ValueError("the pickle calls what is no function")

    def _new(self) -> None:
        _, _ = self._pop_many(2)
        self._stack.append(_Nothing())

    def _build(self) -> None:
        self._pop()  # attributes, such as an OrderedDict's _metadata


def _allow(name: str) -> _Name:
    if name not in _ALLOWED:
        raise _RefusedError(
            f"its pickle names {name.replace(' ', '.', 1)!r}, which is no part of a dictionary of tensors"
        )
    return _Name(name)


def _find_storage(identity: Any) -> _Storage:
    kind, storage, key, _, count = identity
    if kind != "storage" or not isinstance(storage, _Name) or storage.name not in _STORAGES:
        raise ValueError("a storage is of an unknown kind")
    if type(key) is not str or type(count) is not int or count < 0:
        raise ValueError("a storage has no legal key or size")
    return _Storage(key, _STORAGES[storage.name], count)


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    is_shaped = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= _LARGEST_RANK
    if (
        not isinstance(storage, _Storage)
        or not is_shaped
        or not all(type(number) is int and 0 <= number < 2**63 for number in (offset, *shape, *strides))
    ):
        raise ValueError("a tensor has no legal storage, shape or strides")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))
