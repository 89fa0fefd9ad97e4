"""Formats that are read again as models: preset directories, Keras files, tensors, and directories of timm and transformers."""

from pathlib import Path
from typing import ClassVar

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.exporting.base import ExportJob, Format, Runtime
from vit_keras.exporting.verification import predict
from vit_keras.models.own_head import is_probabilities
from vit_keras.models.wiring import read_model
from vit_keras.runtime.files import atomic_file
from vit_keras.weights import write, write_tensors
from vit_keras.weights.store import read_tensors
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.load_model import load_model
from vit_keras.zoo.rebuild import rebuild
from vit_keras.zoo.save_preset import save_preset


class KerasFormat(Format):
    """A `.keras` file, which Keras itself loads."""

    name = "keras"

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the model."""
        with atomic_file(path) as unfinished:
            job.model.save(unfinished)

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Loads it with Keras."""
        return _runtime(load_model(path))


class PresetFormat(Format):
    """A preset directory, which `vk.from_preset` loads."""

    name = "preset"

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the model with its preprocessing and class names."""
        save_preset(job.model, path, class_names=job.opened.class_names or None, preprocessing=job.opened.preprocessing)

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Loads it again."""
        return _runtime(from_preset(path))


class SafetensorsFormat(Format):
    """The weights alone, under their names in vit_keras."""

    name = "safetensors"

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the weights."""
        write_tensors(model_arrays(job.model), path)

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Reads the weights into a copy of the model."""
        copy = rebuild(job.model)
        shapes = {weight.path: tuple(weight.shape) for weight in copy.weights}
        arrays = read_tensors(path, shapes)
        for weight in copy.weights:
            weight.assign(arrays[weight.path])
        return _runtime(copy)


class _LibraryFormat(Format):
    """A directory that another library opens."""

    library: ClassVar[str]

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the weights under the library's names, and its config files."""
        write(
            model_arrays(job.model),
            portable_config(job.model),
            path,
            to=self.library,
            class_names=job.opened.class_names or None,
            preprocessing=job.opened.preprocessing,
            task=job.opened.task,
            classifier_activation=read_model(job.model).classifier_activation,
        )

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Loads it with vit_keras' reader of that library's directories."""
        return _runtime(from_preset(path))


class TimmFormat(_LibraryFormat):
    """A directory that `timm.create_model` opens as "local-dir:PATH"."""

    name = library = "timm"


class HuggingfaceFormat(_LibraryFormat):
    """A directory that transformers' `AutoModel` opens."""

    name = library = "huggingface"


def model_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns a model's weights by name."""
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def portable_config(model: keras.Model) -> ViTConfig:
    """Returns the config of a model that other libraries can express: without layers of the user's own."""
    parts = read_model(model)
    own = [layer.name for layer in parts.own_head if not is_probabilities(layer)]
    if own:
        raise InvalidArgumentError(
            f"The model has layers of your own, {own}, which other libraries can't hold: write a preset or a .keras file, or "
            "leave them out with rebuild(model, num_classes=0)."
        )
    return parts.config


def _runtime(model: keras.Model) -> Runtime:
    return lambda images: predict(model, images)
