"""Decides whether a word names a preset, a preset's weights, a file or a directory."""

import os
from dataclasses import dataclass
from pathlib import Path

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.presets import list_presets
from vit_keras.validation import closest


@dataclass(frozen=True)
class FoundModel:
    """What a word names: a preset, perhaps with the tag of its weights, or an existing file or directory."""

    preset: str | None = None
    tag: str | None = None
    path: Path | None = None


def find_model(model: str | Path) -> FoundModel:
    """Returns what a word names: a preset, `NAME:TAG` of a preset's weights, a file or a directory.

    A preset's name takes precedence over a file of the same name, unless it is a `Path` or has a slash. A run directory stands for
    the `model` directory in it.
    """
    path = Path(model)
    is_path = isinstance(model, Path) or os.sep in model
    name, _, tag = str(model).partition(":")
    if not is_path and name in list_presets():
        return FoundModel(preset=name, tag=tag or None)
    if path.exists():
        return FoundModel(path=model_directory(path))
    if is_path:
        raise StorageError(f"{path}: there is no such file or directory.")
    near = closest(name, list_presets())
    hint = f" The closest presets are {near};" if near else ""
    raise InvalidArgumentError(
        f"There is no preset {name!r}, and no file or directory of that name.{hint} list_presets() and `vit-keras list` show all."
    )


def model_directory(path: Path) -> Path:
    """Returns the `model` directory of a finished run's directory; any other path as it is."""
    inside = path / "model"
    return inside if not (path / "config.json").exists() and (inside / "config.json").is_file() else path


def model_word(model: str | Path) -> str:
    """Returns the word by which `find_model` finds the same again; a relative path gets a slash, so that it names no preset."""
    word = str(model)
    return os.path.join(os.curdir, word) if isinstance(model, Path) and os.sep not in word else word
