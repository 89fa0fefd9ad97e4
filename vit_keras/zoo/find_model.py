"""Decides whether a word names a preset, a preset's weights, a file or a directory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.presets import PresetName, find_name, list_presets
from vit_keras.presets.names import is_published_id, refuse_name


@dataclass(frozen=True)
class FoundModel:
    """What a word names: a preset, perhaps with the tag of its weights, or an existing file or directory.

    `taken` and `config` are those of `PresetName`.
    """

    preset: str | None = None
    tag: str | None = None
    path: Path | None = None
    taken: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


def find_model(model: str | Path) -> FoundModel:
    """Returns what a word names: a preset, a preset's weights, a file or a directory.

    A preset's `NAME` or `NAME:TAG` takes precedence over a file of the same name, unless it is a `Path`. A file or directory takes
    precedence over the other names that `parse_name` understands, those of timm and Hugging Face. A run directory stands for the
    `model` directory in it.
    """
    path = Path(model)
    if isinstance(model, Path):
        if path.exists():
            return FoundModel(path=model_directory(path))
        raise StorageError(f"{path}: there is no such file or directory.")
    is_preset = model.partition(":")[0] in list_presets()
    if path.exists() and not is_preset:
        return FoundModel(path=model_directory(path))
    found = find_name(model)
    if found is not None:
        return _to_model(found)
    if os.sep not in model:
        raise InvalidArgumentError(
            refuse_name(
                model, list_presets(), what=f"There is no preset {model!r}, and no file or directory of that name."
            )
        )
    what = f"{model}: there is no such file or directory"
    if path.parent.is_dir() or not is_published_id(model):
        raise StorageError(f"{what}.")
    raise StorageError(
        refuse_name(model, list_presets(), what=f"{what}, and no weights of that name that vit_keras knows.")
    )


def _to_model(name: PresetName) -> FoundModel:
    return FoundModel(preset=name.preset, tag=name.tag, taken=name.taken, config=name.config)


def model_directory(path: Path) -> Path:
    """Returns the `model` directory of a finished run's directory; any other path as it is."""
    inside = path / "model"
    return inside if not (path / "config.json").exists() and (inside / "config.json").is_file() else path


def model_word(model: str | Path) -> str:
    """Returns the word by which `find_model` finds the same again; a relative path gets a slash, so that it names no preset."""
    word = str(model)
    return os.path.join(os.curdir, word) if isinstance(model, Path) and os.sep not in word else word
