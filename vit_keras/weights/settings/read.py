"""What a checkpoint says of its model: by the config.json beside it, and by the names in it."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.runtime.strict_json import parse_json
from vit_keras.weights.classes import count_classes
from vit_keras.weights.formats.opening import is_standard_name, open_tensors
from vit_keras.weights.head_features import HEAD_FIELDS, head_features
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.settings.huggingface import PREPROCESSOR, huggingface_settings
from vit_keras.weights.settings.timm import timm_settings

_log = logging.getLogger(__name__)

CONFIG = "config.json"
_NOTHING: Mapping[str, Any] = {}
LARGEST_JSON = 2**22
"""Bytes of a config.json of another library: the names of 21,841 classes, in both directions, are up to 3 MB."""

ROTARY_FIELDS = ("rotary_embedding", "rotary_temperature", "rotary_order", "rotary_reference")
FORWARD_FIELDS = (
    "num_heads",
    "activation",
    "norm_epsilon",
    "pixel_mean",
    "pixel_std",
    *ROTARY_FIELDS,
    *HEAD_FIELDS,
)
"""Fields of `ViTConfig` that change what the same weights compute, and that no shape of a tensor tells."""

_SIZE_FIELDS = ("hidden_dim", "num_layers", "mlp_dim")
_ATTENTION_FIELDS = ("num_heads", *ROTARY_FIELDS)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is known of a checkpoint's model.

    Args:
        origin: Where `stated` is from, for messages.
        stated: Fields of `ViTConfig` that a config.json beside the file says; all of them where a model can be built from it.
        inferred: Fields that the names in the file give away.
        convention: Fields that published models of this layout share, where nothing says them.
        num_classes: Classes of the file's head, or None.
        class_names: What its outputs mean, where it says so.
        preprocessing: Arguments of `Preprocessing` that it says: image_size, crop, crop_mode, interpolation.
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
        """Every field that is known: what is stated counts before what is inferred, and that before a convention."""
        return {**self.convention, **self.inferred, **self.stated}

    def config(self) -> ViTConfig:
        """Returns the config of the model that the directory describes.

        Raises:
            InvalidArgumentError: It is no model that is built here.
        """
        try:
            return ViTConfig(**self.fields)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{self.origin}: {error}") from error


def read_settings(path: str | Path, *, source: str = "auto") -> Settings:
    """Returns what a checkpoint says of its model; of the tensors only names and shapes are read.

    Args:
        path: A checkpoint, as `load` takes it. A config.json counts where it stands beside a model.safetensors or its index.
        source: The library whose names it has, or "auto" to go by them.

    Raises:
        StorageError: A file is not there or can't be read.
        InvalidArgumentError: The file is of a kind that is not read, or its config.json describes no model that is built here.
        CorruptFileError: A file is damaged.
        WeightMismatchError: The names are those of no Vision Transformer, or of another library than the config.json.
    """
    with open_tensors(path) as file:
        table = find_table(file.tensors, source, path=file.path)
        tensors = {table.canonical(name): info for name, info in file.tensors.items()}
        folder = file.path.parent if is_standard_name(file.path) else None
    inferred = head_features(table, tensors)
    classes = count_classes(table, tensors)
    said = read_json(folder / CONFIG) if folder is not None and (folder / CONFIG).is_file() else None
    if folder is None or not isinstance(said, dict):
        return Settings(origin=str(path), inferred=inferred, convention=table.convention, num_classes=classes)
    where = folder / CONFIG
    library = library_of(said)
    if library is None:
        return Settings(origin=str(path), inferred=inferred, convention=table.convention, num_classes=classes)
    if table.source != library and not (library == "timm" and table.source == "meta"):
        raise WeightMismatchError(
            f"{where} is {library}'s, and the tensors beside it have the names of {table.title}: one of the two is of another model. "
            "Take away the one that is wrong."
        )
    if library == "vit_keras":
        config = said.get("config")
        stated = asdict(ViTConfig.from_dict(config)) if isinstance(config, dict) else {}
        return Settings(origin=str(where), stated=stated, num_classes=classes)
    if library == "timm":
        fields, names, preprocessing = timm_settings(said, where)
        return Settings(
            origin=str(where), stated=fields, inferred=inferred, num_classes=classes,
            class_names=names if names and len(names) == classes else None, preprocessing=preprocessing,
        )  # fmt: skip
    processor = read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else None
    found = huggingface_settings(said, processor, tensors, where)
    return Settings(
        origin=str(where), stated=found.stated, inferred=inferred, convention={**table.convention, **found.convention},
        num_classes=classes, class_names=found.class_names if classes == len(found.class_names) else None,
        preprocessing=found.preprocessing,
    )  # fmt: skip


def contradictions(settings: Settings, config: ViTConfig) -> list[str]:
    """Returns what a config.json says otherwise than a model's config, a line each, of what changes the outputs.

    Args:
        settings: What the checkpoint says.
        config: The model's.

    Raises:
        WeightMismatchError: The attention of the two is not the same, so that the weights mean nothing in the model.
    """
    differing = {
        name: settings.stated[name]
        for name in FORWARD_FIELDS
        if name in settings.stated
        and name not in HEAD_FIELDS
        and not _same(settings.stated[name], getattr(config, name))
    }
    refused = [f"{name}={differing[name]!r}" for name in _ATTENTION_FIELDS if name in differing]
    if refused:
        mine = ", ".join(f"{name}={getattr(config, name)!r}" for name in _ATTENTION_FIELDS if name in differing)
        raise WeightMismatchError(
            f"{settings.origin} says {', '.join(refused)}, and the model has {mine}: the weights fit by their shapes and would compute "
            f"something else. Build the model with {', '.join(refused)}."
        )
    return [
        f"the model has {name}={getattr(config, name)!r}, and {settings.origin} says {value!r}: its outputs are others"
        for name, value in differing.items()
    ]


def _same(stated: Any, mine: Any) -> bool:
    """Whether two values of a field are equal; one mean for all channels is as one for each."""
    if isinstance(stated, tuple) and isinstance(mine, tuple) and 1 in (len(stated), len(mine)):
        return len({*stated, *mine}) == 1
    return bool(stated == mine)


def apply_settings(config: ViTConfig, settings: Settings, *, asked: Mapping[str, Any] = _NOTHING) -> ViTConfig:
    """Returns a preset's config as a checkpoint's own settings have it, in what its shapes do not tell; and logs what they are.

    Args:
        config: The preset's.
        settings: What the checkpoint says.
        asked: Fields that the caller gives, which count before both.

    Raises:
        InvalidArgumentError: The preset can't be built so.
        WeightMismatchError: The checkpoint's config.json says that it is of another size.
    """
    other = [
        name
        for name in _SIZE_FIELDS
        if name not in asked and settings.stated.get(name, getattr(config, name)) != getattr(config, name)
    ]
    if other:
        theirs = ", ".join(f"{name}={settings.stated[name]!r}" for name in other)
        raise WeightMismatchError(
            f"{settings.origin} says {theirs}, and the preset has {', '.join(repr(getattr(config, name)) for name in other)}: the "
            f"weights do not fit the model. Give {theirs}, or the directory in place of the preset's name."
        )
    names = {name for name in ("image_size", "position_resize", *FORWARD_FIELDS) if name not in asked}
    if not config.distillation_token:
        names.discard("distillation_head")
    taken = {name: value for name, value in settings.fields.items() if name in names}
    try:
        changed = config.replace(**{**taken, **asked})
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{settings.origin}: {error}") from error
    differing = {name: getattr(changed, name) for name in taken if getattr(config, name) != getattr(changed, name)}
    differing.pop("position_resize", None)  # said where positions are resized
    if differing:
        _log.warning(
            "%s: %s, in place of the preset's %s",
            settings.origin,
            ", ".join(f"{name}={value!r}" for name, value in differing.items()),
            ", ".join(repr(getattr(config, name)) for name in differing),
        )
    say_assumed(settings, changed)
    return changed


def say_assumed(settings: Settings, config: ViTConfig) -> None:
    """Logs what a checkpoint's outputs depend on and neither its shapes nor a config.json beside it say.

    Args:
        settings: What the checkpoint says.
        config: The model's.
    """
    told = settings.stated.keys() | settings.inferred.keys()
    names = ["num_heads", "activation", "norm_epsilon", "pixel_mean", "pixel_std", "pooling"]
    if config.pooling == "map" and config.num_prefix_tokens:
        names.append("map_includes_prefix")
    names = [name for name in names if name not in told]
    if names:
        _log.warning(
            "%s: assumed, because nothing beside the weights says it: %s",
            settings.origin,
            ", ".join(f"{name}={getattr(config, name)!r}" for name in names),
        )


def library_of(said: Mapping[str, Any]) -> str | None:
    """Returns whose config.json this is: "vit_keras", "timm", "huggingface", or None where it is of another.

    Args:
        said: What the file holds.

    Example:
        >>> library_of({"architecture": "vit_tiny_patch16_224"}), library_of({"model_type": "vit"}), library_of({})
        ('timm', 'huggingface', None)
    """
    if "format" in said and "config" in said:
        return "vit_keras"
    if "architecture" in said:
        return "timm"
    return "huggingface" if "model_type" in said else None


def read_json(path: Path, *, largest: int = LARGEST_JSON) -> Any:
    """Returns what a JSON file beside a checkpoint says.

    Args:
        path: The file.
        largest: The most bytes that it may have.

    Raises:
        StorageError: It can't be read.
        CorruptFileError: It is too large, or not JSON.
    """
    size = path.stat().st_size
    if size > largest:
        raise CorruptFileError(f"{path}: {size} bytes are too many for this file; the limit is {largest}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error
    return parse_json(content, path)
