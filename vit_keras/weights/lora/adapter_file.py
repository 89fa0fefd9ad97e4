"""PEFT's tensors: pairs of low-rank matrices, tensors that replace the base model's, and, in a whole state dict, the base model's."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.validation import list_words
from vit_keras.weights.formats.opening import open_tensors
from vit_keras.weights.formats.tensor_file import TensorFile, TensorInfo
from vit_keras.weights.lora.adapter_config import ADAPTER_CONFIG, AdapterConfig, read_adapter_config
from vit_keras.weights.mappings.layouts import Array

ADAPTER_MODEL = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_PAIR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_REPLACED = re.compile(r"(?P<module>.+)\.modules_to_save\.(?P<adapter>[^.]+)\.(?P<rest>[^.].*)")
_VARIANTS = {
    r"lora_magnitude_vector": "DoRA (use_dora)",
    r"lora_B(?:\.[^.]+)?\.bias": "biases of the adapters (lora_bias)",
    r"lora_embedding_[AB]": "adapters of embeddings",
    r"lora_": "a variant of LoRA",
}


@dataclass(frozen=True)
class AdapterNames:
    """The tensors of a file by their use; names are those of the base model's modules and tensors."""

    pairs: Mapping[str, tuple[str, str]]  # module -> the file's names of both matrices
    replaced: Mapping[str, str]  # the base model's tensor -> the file's name of its new value
    base: Mapping[str, str]  # the same for tensors of the base model, in a state dict that holds all of it


def is_adapter(names: Iterable[str]) -> bool:
    """Whether these are names of a file with LoRA matrices of PEFT."""
    return any(".lora_" in name for name in names)


def find_adapter(path: Path) -> tuple[Path, Path | None]:
    """Returns the file of an adapter's tensors, and that of its config, if there is one beside it."""
    if not path.is_dir():
        beside = path.with_name(ADAPTER_CONFIG)
        return path, beside if beside.is_file() else None
    config = path / ADAPTER_CONFIG
    if not config.is_file():
        inside = sorted(each.parent.name for each in path.glob(f"*/{ADAPTER_CONFIG}"))
        hint = f" It holds adapters in the folders {list_words(inside)}: give one of them." if inside else ""
        raise StorageError(f"{path}: this folder has no {ADAPTER_CONFIG}, which PEFT writes for an adapter.{hint}")
    if not (path / ADAPTER_MODEL).is_file() and (path / _PICKLED).is_file():
        return path / _PICKLED, config
    return path / ADAPTER_MODEL, config


def open_adapter(
    path: Path, *, alpha: float | None = None, scaling: str | None = None
) -> tuple[TensorFile, AdapterConfig]:
    """Opens an adapter of PEFT: a directory, or a file beside an adapter_config.json or with its alpha given here."""
    file, config_path = find_adapter(path)
    if config_path is not None:
        if alpha is not None or scaling is not None:
            raise InvalidArgumentError(f"{config_path} states alpha and its scaling; leave out alpha= and scaling=.")
        return open_tensors(file), read_adapter_config(config_path)
    if alpha is None:
        raise InvalidArgumentError(
            f"{path}: there is no {ADAPTER_CONFIG} beside it, and no tensor says how the matrices are scaled: give alpha=, the "
            "lora_alpha it was trained with."
        )
    return open_tensors(file), AdapterConfig(origin=str(path), alpha=alpha, scaling=scaling or "rank")


def sort_names(file: TensorFile, *, adapter: str | None = None) -> AdapterNames:
    """Returns the tensors of a file by their use.

    Args:
        file: An open file.
        adapter: The adapter's name, in a file that holds several.
    """
    stripped = {re.sub(r"^(?:.*\.)?base_model\.model\.", "", name): name for name in file.tensors}
    chosen = _choose_adapter(stripped, adapter, file.path)
    sides: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    base: dict[str, str] = {}
    is_whole = any(".base_layer.weight" in name for name in stripped)
    for name, full in stripped.items():
        pair, whole = _PAIR.fullmatch(name), _REPLACED.fullmatch(name)
        if pair is not None:
            if pair["adapter"] in (None, chosen):
                sides.setdefault(pair["module"], {})[pair["side"]] = full
        elif whole is not None:
            if whole["adapter"] == chosen:
                replaced[f"{whole['module']}.{whole['rest']}"] = full
        elif ".lora_" in name:
            what = next(what for pattern, what in _VARIANTS.items() if re.search(pattern, name))
            raise InvalidArgumentError(
                f"{file.path}: this adapter can't be represented: it has {what}, such as {full}. Merge it with PEFT "
                "(merge_and_unload), save that model, and load its weights."
            )
        else:
            plain = name.replace(".base_layer.", ".").replace(".original_module.", ".")
            (base if is_whole else replaced)[plain] = full
    single = sorted(module for module, found in sides.items() if len(found) == 1)
    if single:
        raise CorruptFileError(f"{file.path}: {len(single)} modules have only one of lora_A and lora_B: {single[:5]}.")
    if not sides:
        raise WeightMismatchError(f"{file.path}: there are no LoRA matrices in it, which PEFT calls lora_A and lora_B.")
    return AdapterNames({module: (found["A"], found["B"]) for module, found in sides.items()}, replaced, base)


def _choose_adapter(names: Iterable[str], adapter: str | None, path: Path) -> str | None:
    matches = (pattern.fullmatch(name) for name in names for pattern in (_PAIR, _REPLACED))
    found = sorted({match["adapter"] for match in matches if match is not None and match["adapter"] is not None})
    if adapter is not None and adapter not in found:
        raise InvalidArgumentError(
            f"{path}: there is no adapter {adapter!r}; it holds {found or 'one without a name'}."
        )
    if adapter is None and len(found) > 1:
        raise InvalidArgumentError(
            f"{path}: there are several adapters: choose one with adapter=, of {list_words(found)}."
        )
    return adapter or next(iter(found), None)


def read_pair(file: TensorFile, names: tuple[str, str], module: str, config: AdapterConfig) -> tuple[Array, Array]:
    """Returns both matrices of a module in float32, after checking their shapes and numbers."""
    down, up = (read_finite(file, name) for name in names)
    rank, stated = down.shape[0] if down.ndim else 0, config.rank_of(module)
    if down.ndim not in (2, 4) or up.ndim != down.ndim or not rank or up.shape[1] != rank or set(up.shape[2:]) - {1}:
        raise CorruptFileError(
            f"{file.path}: {names[0]} is {down.shape} and {names[1]} {up.shape}; expected (rank, inputs) and (outputs, rank)."
        )
    if stated is not None and stated != rank:
        raise CorruptFileError(f"{file.path}: {names[0]} has rank {rank}, and {config.origin} says {stated}.")
    return down, up.reshape(up.shape[0], rank)


def read_finite(file: TensorFile, name: str) -> Array:
    """Returns a tensor in float32; refuses integers, NaN and infinity."""
    array = file.read(name)
    if file.tensors[name].dtype not in ("float64", "float32", "float16", "bfloat16"):
        raise WeightMismatchError(
            f"{file.path}: {name} is of {file.tensors[name].dtype}; expected floating-point numbers."
        )
    array = array.astype("float32")
    if not np.isfinite(array).all():
        raise CorruptFileError(f"{file.path}: {name} holds NaN or infinity.")
    return array


class BaseModelFile(TensorFile):
    """The base model's tensors of a whole state dict, under the base model's own names."""

    def __init__(self, file: TensorFile, names: Mapping[str, str]) -> None:
        self.path = file.path
        self._file, self._names = file, names
        self.tensors: dict[str, TensorInfo] = {name: file.tensors[full] for name, full in names.items()}

    def read(self, name: str) -> Array:
        """Returns one tensor in its own dtype."""
        return self._file.read(self._names[name])
