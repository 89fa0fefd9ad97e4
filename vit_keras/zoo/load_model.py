"""Opens whatever the project writes: run directories, preset directories, `.keras` and `.weights.h5` files."""

import re
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras

from vit_keras.data.images.preprocess import Preprocessing, default_preprocessing, preset_preprocessing
from vit_keras.data.tasks import default_names
from vit_keras.errors import (
    CorruptFileError,
    InvalidArgumentError,
    UnsafeFileError,
    WeightMismatchError,
)
from vit_keras.models.vit import model_num_classes
from vit_keras.models.wiring import read_model
from vit_keras.presets import load_preset
from vit_keras.validation import list_words
from vit_keras.zoo.find_model import FoundModel, find_model
from vit_keras.zoo.from_preset import build_and_load, from_preset
from vit_keras.zoo.preset_directory import read_directory

_KERAS, _WEIGHTS = ".keras", ".weights.h5"
_CHECKPOINTS = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".ckpt")
_KINDS = f"a preset's NAME:TAG, a run directory, a preset directory, a {_KERAS} file, or a {_WEIGHTS} file with preset="


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
        path: A preset's `NAME:TAG`, a run directory, a preset directory, a `.keras` file (`model.save`), or a `.weights.h5` file
            (`model.save_weights`).
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


def open_model(
    source: keras.Model | str | Path,
    *,
    preset: str | Path | None = None,
    weights: str | Path | None = None,
    accept_license: bool = False,
    offline: bool | None = None,
    allow_random: bool = False,
) -> OpenModel:
    """Returns a model with its preprocessing and class names: a model of this library, or what `load_model` takes.

    Where no preprocessing is saved, images are resized to the model's size, the shorter side first, and cropped to the center.
    `weights` are those of `from_preset`; a preset without any is refused, unless `allow_random`.
    """
    if isinstance(source, keras.Model):
        if weights is not None:
            raise InvalidArgumentError(f"weights={weights!r} is for a preset's name; this is a model: leave it out.")
        return _with_defaults(source)
    found = find_model(source)
    path = found.path
    if path is None:
        return _open_preset(found, weights, accept_license=accept_license, offline=offline, allow_random=allow_random)
    if preset is not None and not path.name.endswith(_WEIGHTS):
        raise InvalidArgumentError(f"{path}: preset= is for {_WEIGHTS} files; leave it out.")
    if path.is_dir():
        saved = read_directory(path)
        opened = _with_defaults(build_and_load(saved, weights=weights))
        names = saved.class_names() if weights is None else opened.class_names
        return replace(opened, preprocessing=saved.read_preprocessing(), class_names=names)
    if weights is not None:
        raise InvalidArgumentError(f"{path} is a file of weights, so weights={weights!r} has no meaning: leave it out.")
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
        preprocessing=default_preprocessing(config),
        class_names=names or default_names(task or "single_label", model_num_classes(model) or 0),
        task=task,
        threshold=getattr(model, "threshold", None),
    )


def _open_preset(
    found: FoundModel,
    weights: str | Path | None,
    *,
    accept_license: bool,
    offline: bool | None,
    allow_random: bool,
) -> OpenModel:
    name = str(found.preset)
    tags = load_preset(name).weights
    if found.tag is None and weights is None and not allow_random:
        hint = f"give {name}:TAG, its tags are {list_words(sorted(tags))}" if tags else "train it first"
        raise InvalidArgumentError(
            f"{name} is a preset without weights: {hint}. vk.from_preset({name!r}) has random weights."
        )
    model = build_and_load(found, weights=weights, accept_license=accept_license, offline=offline)
    opened = _with_defaults(model)
    tag = found.tag or (weights if isinstance(weights, str) and weights in tags else None)
    if tag is None and read_model(model).config.image_size != load_preset(name).config.image_size:
        return opened  # of a checkpoint file for another size
    return replace(opened, preprocessing=preset_preprocessing(name, weights=tag))


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
