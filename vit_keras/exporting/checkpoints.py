"""Formats that are read again as models: preset directories, Keras files, tensors, and directories of timm and transformers."""

from collections.abc import Sequence
from pathlib import Path

import keras

from vit_keras.config import ViTConfig
from vit_keras.data.images.preprocess import Preprocessing
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
        _write(job, path, self.name)

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Loads it with Keras."""
        return _runtime(load_model(path))


class WeightsFormat(Format):
    """A `.weights.h5` file: the weights alone, for the `load_weights` of a model with the same config."""

    name = "weights"
    options = ()

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the weights."""
        job.model.save_weights(path)

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Reads the weights into a copy of the model, with Keras."""
        copy = rebuild(job.model)
        for weight in copy.weights:  # so that one that the file lacks shows
            weight.assign(keras.ops.zeros_like(weight))
        copy.load_weights(path)
        return _runtime(copy)


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
    options = ()

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the weights."""
        _write(job, path, self.name)

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

    options = ()

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the weights under the library's names, and its config files."""
        if job.record.output == "probabilities":
            raise InvalidArgumentError(
                f"The model ends in probabilities, and those of {self.name} end in logits: export rebuild(model, "
                'classifier_activation="linear"), and let that library compute probabilities.'
            )
        _write(job, path, self.name)

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Loads it with vit_keras' reader of that library's directories."""
        return _runtime(from_preset(path))


class TimmFormat(_LibraryFormat):
    """A directory that `timm.create_model` opens as "local-dir:PATH"."""

    name = "timm"


class HuggingfaceFormat(_LibraryFormat):
    """A directory that transformers' `AutoModel` opens."""

    name = "huggingface"


def write_checkpoint(
    model: keras.Model,
    path: Path,
    *,
    to: str,
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Writes a model in a format of this file.

    Args:
        model: The model.
        path: The new file or directory.
        to: "preset", "timm", "huggingface", "safetensors" or "keras".
        class_names: Names of the outputs; by default their indices.
        preprocessing: How images are resized; None to resize without a crop.
    """
    if to == "keras":
        with atomic_file(path) as unfinished:
            model.save(unfinished)
    elif to == "preset":
        save_preset(model, path, class_names=class_names, preprocessing=preprocessing)
    else:
        arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
        if to == "safetensors":
            write_tensors(arrays, path)
            return
        write(
            arrays, portable_config(model), path, to=to, class_names=class_names, preprocessing=preprocessing,
            task=getattr(model, "task", None),
        )  # fmt: skip


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


def _write(job: ExportJob, path: Path, to: str) -> None:
    names = job.opened.class_names or None
    write_checkpoint(job.model, path, to=to, class_names=names, preprocessing=job.opened.preprocessing)


def _runtime(model: keras.Model) -> Runtime:
    return lambda images: predict(model, images)
