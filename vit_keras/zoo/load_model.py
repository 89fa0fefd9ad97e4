"""Opens whatever the project writes: run directories, preset directories, `.keras` and `.weights.h5` files."""

import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras

from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.tasks import default_names
from vit_keras.errors import (
    CorruptFileError,
    InvalidArgumentError,
    ResumeError,
    StorageError,
    UnsafeFileError,
    WeightMismatchError,
)
from vit_keras.models.vit import model_num_classes
from vit_keras.models.wiring import read_model
from vit_keras.runtime.strict_json import parse_json
from vit_keras.zoo.find_model import find_model
from vit_keras.zoo.from_preset import build_and_load, from_preset
from vit_keras.zoo.preset_directory import read_directory

_KERAS, _WEIGHTS = ".keras", ".weights.h5"
_CHECKPOINTS = (".safetensors", ".npz")
_KINDS = f"a run directory, a preset directory, a {_KERAS} file, or a {_WEIGHTS} file with preset="


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenModel:
    """A model with what is needed to use it on images of any size."""

    model: keras.Model
    preprocessing: Preprocessing
    class_names: tuple[str, ...]  # in the order of the outputs; empty for a model without a head
    task: str | None = None  # None for single labels, and where it is not stated
    threshold: float | None = None  # of a multi-label model; None where it is not stated


def load_model(path: str | Path, *, preset: str | Path | None = None) -> keras.Model:
    """Loads a model from a file or directory that this library, Keras, transformers or timm wrote.

    Open `.keras` files only from people you trust: Keras' safe mode is on, but it blocks known attacks only.

    Args:
        path: A run directory, a preset directory, a `.keras` file (`model.save`), or a `.weights.h5` file (`model.save_weights`).
        preset: For a `.weights.h5` file, which holds no architecture: a preset's name, or a directory.

    Raises:
        StorageError: There is no such file, or the directory holds no model.
        ResumeError: The run is not finished and has no model yet.
        InvalidArgumentError: The file is of another kind, or `preset` is missing.
        CorruptFileError: The file is damaged.
        UnsafeFileError: The `.keras` file contains code.
        WeightMismatchError: The weights don't fit the preset.

    Example:
        >>> import tempfile
        >>> import vit_keras as vk
        >>> model = vk.from_preset("test_vit", num_classes=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = load_model(vk.save_preset(model, folder + "/mine", class_names=["cat", "dog"]))
        >>> model.output_shape, model.class_names
        ((None, 2), ('cat', 'dog'))
    """
    return open_model(path, preset=preset).model


def open_model(source: keras.Model | str | Path, *, preset: str | Path | None = None) -> OpenModel:
    """Returns what `load_model` takes, or a model of this library, with its preprocessing and class names.

    Where no preprocessing is saved, images are resized to the model's size, the shorter side first, and cropped to the center.
    """
    if isinstance(source, keras.Model):
        return _with_defaults(source)
    path = find_model(source).path
    if path is None:
        raise InvalidArgumentError(
            f"{source} is a preset, not a file or directory: use vk.from_preset({str(source)!r})."
        )
    if preset is not None and not path.name.endswith(_WEIGHTS):
        raise InvalidArgumentError(f"{path}: preset= is for {_WEIGHTS} files; leave it out.")
    if path.is_dir():
        _check_has_model(path)
        saved = read_directory(path)
        return OpenModel(
            model=build_and_load(saved),
            preprocessing=saved.read_preprocessing(),
            class_names=saved.class_names(),
            task=saved.task,
            threshold=saved.threshold,
        )
    if path.name.endswith(_WEIGHTS):
        return _with_defaults(_load_weights(path, preset))
    if path.suffix == _KERAS:
        return _with_defaults(_load_keras(path))
    if path.suffix in _CHECKPOINTS:
        raise InvalidArgumentError(
            f"{path} holds weights without an architecture: use vk.from_preset(NAME, weights={str(path)!r})."
        )
    raise InvalidArgumentError(f"{path}: this kind of file is not supported; expected {_KINDS}.")


def _with_defaults(model: keras.Model) -> OpenModel:
    config = read_model(model).config
    names, task = (getattr(model, name, None) for name in ("class_names", "task"))
    return OpenModel(
        model=model,
        preprocessing=Preprocessing(image_size=config.image_size, channels=config.channels),
        class_names=names or default_names(task or "single_label", model_num_classes(model) or 0),
        task=task,
        threshold=getattr(model, "threshold", None),
    )


def _check_has_model(path: Path) -> None:
    if (path / "config.json").is_file():
        return
    if (path / "run.json").is_file():
        record = parse_json((path / "run.json").read_bytes(), path / "run.json")
        command = record.get("command", "train") if isinstance(record, dict) else "train"
        raise ResumeError(
            f"{path}: this run is not finished and has no model yet. Finish it: vit-keras {command} --resume --run-dir {path}"
        )
    if (path / "journal.jsonl").is_file():
        raise ResumeError(
            f"{path}: this search is not finished and has no model yet. Finish it: vit-keras tune --resume --run-dir {path}"
        )
    raise StorageError(f"{path}: there is no model in this directory; expected {_KINDS}.")


def _load_keras(path: Path) -> keras.Model:
    if not zipfile.is_zipfile(path):
        raise CorruptFileError(f"{path}: not a {_KERAS} file, or truncated.")
    try:
        return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # Keras and zipfile raise many kinds for a damaged or unknown content
        if "safe_mode" in str(error) or "unsafe" in str(error).lower():
            raise UnsafeFileError(f"{path}: it contains code, which is not run: {error}") from error
        raise CorruptFileError(f"{path}: Keras could not load it: {error}") from error


def _load_weights(path: Path, preset: str | Path | None) -> keras.Model:
    if preset is None:
        raise InvalidArgumentError(f"{path} holds weights without an architecture: give preset=NAME.")
    try:
        with h5py.File(path) as file:
            layers = file.get("layers", {})
            heads = [name for name in layers if re.fullmatch(r"dense(_\d+)?", name)]
            last = max(heads, key=lambda name: (len(name), name), default=None)
            kernel = layers[last].get("vars/0") if last is not None else None
            num_classes = 0 if kernel is None else int(kernel.shape[-1])
    except OSError as error:
        raise CorruptFileError(f"{path}: not an HDF5 file, or damaged ({error}).") from error
    model = from_preset(preset, num_classes=num_classes)
    try:
        with warnings.catch_warnings(record=True) as skipped:
            warnings.simplefilter("always")  # of some layers that stay random, Keras only warns
            model.load_weights(path)
        problem = str(skipped[0].message) if skipped else ""
    except (ValueError, KeyError) as error:
        problem = str(error)
    if problem:
        raise WeightMismatchError(f"{path}: the weights don't fit the preset {str(preset)!r}: {problem}")
    return model
