"""What is known of a checkpoint's model: from the config.json beside it, and from its tensors' names."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.runtime.strict_json import parse_json
from vit_keras.weights.formats.opening import STANDARD_NAMES, open_tensors
from vit_keras.weights.head import count_classes, head_features
from vit_keras.weights.mappings.config_fields import HF_PREPROCESSOR
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.settings.huggingface import huggingface_settings
from vit_keras.weights.settings.timm import timm_settings

CONFIG = "config.json"
_LARGEST_JSON = 2**22
"""Maximum size of a JSON file, bytes: the names of 21,841 classes, in both directions, are up to 3 MB."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is known of a checkpoint's model.

    Args:
        origin: The file that `stated` is from, for messages.
        stated: Fields of `ViTConfig` that a config.json states; all of them where a model can be built from it.
        inferred: Fields that the tensors' names reveal.
        convention: Fields that all published models of this kind share, where nothing states them.
        num_classes: Classes of the head; None without a head.
        class_names: Names of the head's outputs, where they are stated.
        preprocessing: Stated arguments of `Preprocessing`: image_size, crop, crop_mode, interpolation.
    """

    origin: str
    stated: Mapping[str, Any] = field(default_factory=dict)
    inferred: Mapping[str, Any] = field(default_factory=dict)
    convention: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """All known fields; stated ones override inferred ones, which override the convention."""
        return {**self.convention, **self.inferred, **self.stated}

    def config(self) -> ViTConfig:
        """Returns the config of the model that the directory describes."""
        try:
            return ViTConfig(**self.fields)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{self.origin}: {error}") from error


def read_settings(path: str | Path, *, source: str = "auto", config_json: Mapping[str, Any] | None = None) -> Settings:
    """Returns what is known of a checkpoint's model; only names and shapes of the tensors are read."""
    with open_tensors(path) as file:
        table = find_table(file.tensors, source, path=file.path)
        tensors = {table.canonical(name): info for name, info in file.tensors.items()}
        where = file.path.with_name(CONFIG) if file.path.name in STANDARD_NAMES else None
    inferred, classes = head_features(table, tensors), count_classes(table, tensors)
    if config_json is None and where is not None and where.is_file():
        config_json = read_json(where)
    library = library_of(config_json) if where is not None and isinstance(config_json, dict) else None
    if library is None or where is None or config_json is None:
        return Settings(origin=str(path), inferred=inferred, convention=table.convention, num_classes=classes)
    if table.source != library and not (library == "timm" and table.source == "meta"):
        raise WeightMismatchError(
            f"{where} is {library}'s, and the tensors beside it have the names of {table.title}: one of them is of another model. "
            "Remove the wrong one."
        )
    if library == "vit_keras":
        config = config_json.get("config")
        stated = asdict(ViTConfig.from_dict(config)) if isinstance(config, dict) else {}
        return Settings(origin=str(where), stated=stated, num_classes=classes)
    if library == "timm":
        found = timm_settings(config_json, where)
    else:
        processor_path = where.with_name(HF_PREPROCESSOR)
        processor = read_json(processor_path) if processor_path.is_file() else None
        found = huggingface_settings(config_json, processor, tensors, where)
        found["convention"] = {**table.convention, **found["convention"]}
    if len(found["class_names"]) != classes:
        found["class_names"] = None
    return Settings(origin=str(where), inferred=inferred, num_classes=classes, **found)


def library_of(config_json: Mapping[str, Any]) -> str | None:
    """Returns the library that wrote a config.json: "vit_keras", "timm" or "huggingface"; None for any other."""
    if "format" in config_json and "config" in config_json:
        return "vit_keras"
    if "architecture" in config_json:
        return "timm"
    return "huggingface" if "model_type" in config_json else None


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file beside a checkpoint."""
    try:
        size = path.stat().st_size
        if size > _LARGEST_JSON:
            raise CorruptFileError(f"{path}: {size} bytes are too many for this file; the limit is {_LARGEST_JSON}.")
        content = path.read_bytes()
    except CorruptFileError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error
    return parse_json(content, path)
