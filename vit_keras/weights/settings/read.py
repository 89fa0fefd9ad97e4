"""What is known of a checkpoint's model: from the config.json beside it, and from its tensors' names."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, WeightMismatchError
from vit_keras.runtime.strict_json import parse_json
from vit_keras.weights.formats.opening import OPEN_CLIP_NAMES, STANDARD_NAMES, open_tensors
from vit_keras.weights.formats.tensor_file import errors_of_reading, prefix_errors
from vit_keras.weights.head import count_classes, head_features
from vit_keras.weights.mappings.config_fields import HF_PREPROCESSOR, HF_PROCESSOR
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.settings.huggingface import find_kind, huggingface_settings
from vit_keras.weights.settings.keras_hub import CONVERTER, TASK, keras_hub_settings
from vit_keras.weights.settings.open_clip import OPEN_CLIP, open_clip_settings
from vit_keras.weights.settings.timm import timm_settings

CONFIG = "config.json"
_LARGEST_JSON = 2**22  # bytes; the names of 21,841 classes, in both directions, are up to 3 MB


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is known of a checkpoint's model.

    `stated`, `inferred` and `convention` hold fields of `ViTConfig`; where they disagree, the first of them is right.
    """

    origin: str  # the file that `stated` is from, for messages
    source: str = ""  # the library whose names the tensors have
    stated: Mapping[str, Any] = field(default_factory=dict)  # by a config.json; all fields where it describes a model
    inferred: Mapping[str, Any] = field(default_factory=dict)  # from the tensors' names
    convention: Mapping[str, Any] = field(default_factory=dict)  # of all published models of this kind
    num_classes: int | None = None  # None without a head
    class_names: tuple[str, ...] | None = None
    label_set: str | None = (
        None  # key of `LABEL_SETS` that the class names were taken from, because the files have none
    )
    preprocessing: Mapping[str, Any] | None = None  # arguments of `Preprocessing`

    @property
    def fields(self) -> dict[str, Any]:
        """All known fields."""
        return {**self.convention, **self.inferred, **self.stated}

    def config(self) -> ViTConfig:
        """Returns the config of the model that the directory describes."""
        with prefix_errors(self.origin):
            return ViTConfig(**self.fields)


def read_settings(
    path: str | Path, *, source: str = "auto", prefix: str | None = None, config_json: Mapping[str, Any] | None = None
) -> Settings:
    """Returns what is known of a checkpoint's model; only names and shapes of the tensors are read."""
    with open_tensors(path) as file:
        where = _find_config(file.path, is_directory=Path(path).is_dir())
        if config_json is None and where is not None and where.is_file():
            config_json = read_json(where)
        library = library_of(config_json) if isinstance(config_json, dict) else None
        if library == "huggingface" and where is not None and config_json is not None:
            find_kind(config_json, where)  # before names are looked at, which those of other models may resemble
        table = find_table(file.tensors, source, prefix=prefix, path=file.path)
        tensors = {ours: file.tensors[name] for name, ours in table.canonical_names(file.tensors).items()}
    inferred, classes = head_features(table, tensors), count_classes(table, tensors)
    if library is None or where is None or config_json is None:
        convention = table.convention
        return Settings(
            origin=str(path), source=table.source, inferred=inferred, convention=convention, num_classes=classes
        )
    if table.source not in {"timm": ("timm", "meta"), "open_clip": ("timm", "meta")}.get(library, (library,)):
        raise WeightMismatchError(
            f"{where} is {library}'s, and the tensors beside it have the names of {table.title}: one of them is of another model. "
            "Remove the wrong one."
        )
    if library == "vit_keras":
        config = config_json.get("config")
        stated = asdict(ViTConfig.from_dict(config)) if isinstance(config, dict) else {}
        return Settings(origin=str(where), source=table.source, stated=stated, num_classes=classes)
    if library == "timm":
        found = timm_settings(config_json, where)
    elif library == "open_clip":
        found = open_clip_settings(config_json, where)
    elif library == "keras_hub":
        task, converter = (read_json_if_any(where.with_name(name)) for name in (TASK, CONVERTER))
        found = keras_hub_settings(config_json, task, converter, where)
    else:
        found = huggingface_settings(config_json, read_processor(where), tensors, where)
        found["convention"] = {**table.convention, **found["convention"]}
    if len(found["class_names"]) != classes:
        found |= {"class_names": None, "label_set": None}
    return Settings(origin=str(where), source=table.source, inferred=inferred, num_classes=classes, **found)


def _find_config(path: Path, *, is_directory: bool) -> Path | None:
    """Returns where the config of a checkpoint's model would be; None where a config beside it may be another model's."""
    if path.name in OPEN_CLIP_NAMES:
        return path.with_name(OPEN_CLIP)
    return path.with_name(CONFIG) if is_directory or path.name in STANDARD_NAMES else None


def library_of(config_json: Mapping[str, Any]) -> str | None:
    """Returns the library that wrote a config: "vit_keras", "keras_hub", "open_clip", "timm" or "huggingface"; None for any other."""
    if "format" in config_json and "config" in config_json:
        return "vit_keras"
    if str(config_json.get("registered_name")).startswith("keras_hub>"):
        return "keras_hub"
    if "model_cfg" in config_json:
        return "open_clip"
    if "architecture" in config_json:
        return "timm"
    return "huggingface" if config_json.get("model_type") else None  # empty in NVIDIA's own files


def read_processor(where: Path) -> Any:
    """Returns what transformers' files beside a config.json say of preprocessing images; None without one."""
    whole = read_json_if_any(where.with_name(HF_PROCESSOR))
    if isinstance(whole, dict) and "image_processor" in whole:
        return whole["image_processor"]
    return read_json_if_any(where.with_name(HF_PREPROCESSOR))


def read_json_if_any(path: Path) -> Any:
    """Returns the content of a JSON file beside a checkpoint; None without one."""
    return read_json(path) if path.is_file() else None


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file beside a checkpoint."""
    with errors_of_reading(path):
        size = path.stat().st_size
        if size > _LARGEST_JSON:
            raise CorruptFileError(f"{path}: {size} bytes are too many for this file; the limit is {_LARGEST_JSON}.")
        return parse_json(path.read_bytes(), path)
