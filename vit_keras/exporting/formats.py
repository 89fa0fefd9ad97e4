"""The export formats, and which one a file's name means."""

from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING

from vit_keras.errors import InvalidArgumentError
from vit_keras.exporting.record import INSTALL
from vit_keras.validation import closest

if TYPE_CHECKING:
    from vit_keras.exporting.base import Format

_CLASSES = {
    "onnx": "onnx.onnx_format:OnnxFormat",
    "bundle": "bundle:BundleFormat",
    "savedmodel": "saved_model:SavedModelFormat",
    "tflite": "litert:LiteRTFormat",
    "keras": "checkpoints:KerasFormat",
    "weights": "checkpoints:WeightsFormat",
    "safetensors": "checkpoints:SafetensorsFormat",
    "preset": "checkpoints:PresetFormat",
    "timm": "checkpoints:TimmFormat",
    "huggingface": "checkpoints:HuggingfaceFormat",
}
"""Formats by name, and the module and class of each, which are imported on use."""

_SUFFIXES = {
    ".onnx": "onnx", ".zip": "bundle", ".tflite": "tflite", ".keras": "keras", ".weights.h5": "weights", ".safetensors": "safetensors",
}  # fmt: skip
"""Endings of files; directories need `format=`."""

_PACKAGES = {"onnx": ("onnx", "onnxruntime"), "bundle": ("onnx", "onnxruntime"), "tflite": ("ai_edge_litert",)}
"""What writing or running a format needs, of the extra "export"."""


def find_format(path: Path, name: str | None) -> "Format":
    """Returns a format by its name, or else by the ending of a path.

    Raises:
        InvalidArgumentError: There is no such format, the ending is of another one, or a package is missing.
    """
    module, _, kind = _CLASSES[find_format_name(path, name)].partition(":")
    found: type[Format] = getattr(import_module(f"vit_keras.exporting.{module}"), kind)
    return found()


def find_format_name(path: Path, name: str | None) -> str:
    """Returns the name of what `find_format` returns, without importing a backend."""
    by_suffix = next((each for suffix, each in _SUFFIXES.items() if path.name.lower()[1:].endswith(suffix)), None)
    if name is None and by_suffix is None:
        ending = f"the ending {path.suffix!r}" if path.suffix else "a name without an ending"
        endings = ", ".join(_SUFFIXES)
        raise InvalidArgumentError(
            f"{path}: {ending} says no format. Use one of {endings}, or give the format: {', '.join(_CLASSES)}."
        )
    found = str(name or by_suffix)
    if found not in _CLASSES:
        near = closest(found, _CLASSES, count=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InvalidArgumentError(f"format={found!r} is none of {', '.join(_CLASSES)}{hint}.")
    if by_suffix not in (None, found):
        raise InvalidArgumentError(
            f"{path} has the ending of the format {by_suffix!r}, and format={found!r} was asked for."
        )
    own = next((suffix for suffix, each in _SUFFIXES.items() if each == found), None)
    if own is not None and by_suffix is None:
        raise InvalidArgumentError(f"{path}: the name of a file of the format {found!r} must end in {own}.")
    check_packages(found, _PACKAGES.get(found, ()))
    return found


def format_packages(name: str) -> tuple[str, ...]:
    """Returns the packages of the extra "export" that a format needs."""
    return _PACKAGES.get(name, ())


def check_packages(name: str, packages: tuple[str, ...]) -> None:
    """Raises `InvalidArgumentError` where a package that a format needs is not installed."""
    missing = [package for package in packages if util.find_spec(package) is None]
    if missing:
        raise InvalidArgumentError(
            f"The format {name!r} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: run {INSTALL}"
        )
