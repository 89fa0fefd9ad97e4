"""Writes a model as a preset directory."""

import json
from collections.abc import Sequence
from pathlib import Path

import keras

from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.distributed.saving import gather_weights
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import check_not_quantized
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.runtime.files import atomic_directory, file_sha256, write_text
from vit_keras.version import __version__
from vit_keras.weights.store import write_tensors
from vit_keras.weights.writers.requirements import check_preprocessing
from vit_keras.zoo.model_card import model_card
from vit_keras.zoo.model_end import ModelEnd
from vit_keras.zoo.preset_directory import CARD, CONFIG, FORMAT, LABELS, WEIGHTS, read_directory, task_settings


def save_preset(
    model: keras.Model,
    directory: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    notes: str = "",
    preprocessing: Preprocessing | None = None,
) -> Path:
    """Writes a model as a preset directory, which appears complete or not at all.

    Simple Keras layers behind the model, such as your own head, are saved too; one with anything else is for `model.save`. A model that
    several processes hold together is saved by all of them at once, and the first one writes.

    Args:
        model: A model that `vit` or `from_preset` made.
        directory: The new directory; it must not exist.
        class_names: Names of the head's outputs; by default those that came with the model's weights, or their indices.
        notes: Markdown for the model card.
        preprocessing: How images are resized to the model's size; None to resize without a crop.

    Raises:
        InvalidArgumentError: The model is not vit_keras', is quantized or has other layers, or an argument does not fit it.
        StorageError: The directory exists or cannot be written.

    Example:
        >>> import tempfile
        >>> from vit_keras import from_preset, load_class_names
        >>> model = from_preset("test_vit", num_classes=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_preset(model, folder + "/mine", class_names=["cat", "dog"])
        ...     sorted(item.name for item in path.iterdir()), load_class_names(path)
        (['README.md', 'config.json', 'labels.json', 'model.safetensors'], ('cat', 'dog'))
    """
    target = Path(directory)
    check_not_quantized(model, "save_preset")
    parts = read_model(model)
    config, classes = parts.config, parts.num_classes
    ModelEnd.from_parts(parts)  # refuses other layers
    if class_names is None:
        known = getattr(model, "class_names", None) or ()
        class_names = known if len(known) == classes else [str(index) for index in range(classes or 0)]
    names = list(class_names)
    if len(names) != (classes or 0):
        raise InvalidArgumentError(f"{len(names)} class names for a model of {classes or 0} classes.")
    if preprocessing is not None:
        check_preprocessing(preprocessing, config)
    with gather_weights(model) as writes:
        if writes:
            _write(target, model, parts, names=names, notes=notes, preprocessing=preprocessing)
    return target


def _write(
    target: Path,
    model: keras.Model,
    parts: ModelParts,
    *,
    names: Sequence[str],
    notes: str,
    preprocessing: Preprocessing | None,
) -> None:
    config, classes = parts.config, parts.num_classes
    with atomic_directory(target) as unfinished:
        arrays = {name: keras.ops.convert_to_numpy(weight) for name, weight in parts.weights().items()}
        write_tensors(arrays, unfinished / WEIGHTS)
        written = {
            "format": FORMAT,
            "vit_keras": __version__,
            "num_classes": classes,
            "sha256": {WEIGHTS: file_sha256(unfinished / WEIGHTS)},
            "config": config.to_dict(),
            **ModelEnd.from_parts(parts).to_dict(),
            **task_settings(model),
        }
        if preprocessing is not None:
            written["preprocessing"] = preprocessing.to_dict()
        write_text(unfinished / CONFIG, json.dumps(written, indent=2) + "\n")
        write_text(unfinished / LABELS, json.dumps(list(names), indent=2, ensure_ascii=False) + "\n")
        card = model_card(target.name, config, class_names=names, notes=notes, task=written.get("task"))
        write_text(unfinished / CARD, card)


def write_card(directory: str | Path, *, notes: str) -> None:
    """Replaces the model card of a preset directory."""
    saved = read_directory(directory)
    text = model_card(saved.path.name, saved.config, class_names=saved.class_names(), notes=notes, task=saved.task)
    write_text(saved.path / CARD, text)
