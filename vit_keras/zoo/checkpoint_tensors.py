"""Describes the tensors of a checkpoint: which library named them, which presets have their shapes, and what they don't tell."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, VitKerasError
from vit_keras.presets import list_presets, load_preset
from vit_keras.weights.formats.opening import open_tensors
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.settings.read import Settings
from vit_keras.zoo.matching_presets import find_presets, list_changes, read_fields

SHOWN = 5
"""Presets that are listed."""

_UNSTATED = ("num_heads", "activation", "norm_epsilon", "pixel_mean", "pixel_std", "pooling")  # that no shape reveals


def describe_tensors(path: Path, settings: Settings) -> dict[str, Any]:
    """Returns the fields of `checkpoint_info` that a checkpoint's tensors tell, and `title`, the kind of model."""
    with open_tensors(path) as file:
        table = find_table(file.tensors, path=file.path)
        tensors = dict(file.tensors)
    spelled = table.canonical_names(tensors)
    canonical = {own: tensors[name] for name, own in spelled.items()}
    fields = {**read_fields(table, canonical), **settings.inferred}
    known = {**fields, **settings.stated}
    presets = find_presets(known)
    config = None
    if settings.stated and presets:
        try:
            config = settings.config()
        except VitKerasError:
            config = None
    return {
        "title": table.title,
        "library": table.source,
        "prefix": _find_prefix(spelled),
        **count_parameters(tensors),
        "num_classes": settings.num_classes,
        "image_size": known.get("image_size"),
        "patch_size": known.get("patch_size"),
        "presets": presets[:SHOWN],
        "settings": list_changes(config, presets[0]) if config is not None else {},
    }


def count_parameters(tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Returns the number of parameters, and their dtypes, the most frequent first."""
    counts = Counter[str]()
    for info in tensors.values():
        counts[info.dtype] += math.prod(info.shape)
    return {"dtypes": [dtype for dtype, _ in counts.most_common()], "params": sum(counts.values())}


def _find_prefix(canonical_names: Mapping[str, str]) -> str | None:
    """Returns what most names have in front of the names of their library; None for nothing."""
    counts = Counter(
        name.removesuffix(own) for name, own in canonical_names.items() if own != name and name.endswith(own)
    )
    return next((prefix for prefix, _ in counts.most_common(1)), None)


def list_missing(
    settings: Settings, found: Mapping[str, Any], *, has_names: bool, has_preprocessing: bool
) -> list[str]:
    """Returns a sentence for each thing that neither the tensors nor the files beside them state."""
    missing = []
    if found["num_classes"] and not has_names:
        missing.append("class names")
    if not has_preprocessing:
        missing.append("how images are resized")
    unstated = [name for name in _UNSTATED if name not in settings.stated and name not in settings.inferred]
    if unstated and found["presets"]:
        config = load_preset(found["presets"][0]).config
        assumed = ", ".join(f"{name}={settings.fields.get(name, getattr(config, name))!r}" for name in unstated)
        missing.append(f"settings that no tensor reveals; assumed are {assumed}")
    return missing


def describe_keras_weights(path: Path) -> dict[str, Any]:
    """Returns the number of parameters in a file of `model.save_weights`, and the presets and classes that this number can be of."""
    import h5py  # type: ignore[import-untyped]

    shapes: list[tuple[int, ...]] = []

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.startswith("layers/"):
            shapes.append(item.shape)

    try:
        with h5py.File(path) as file:
            file.visititems(add)
    except OSError as error:
        raise CorruptFileError(f"{path}: not an HDF5 file, or damaged ({error}).") from error
    params = sum(math.prod(shape) for shape in shapes)
    rests = []  # parameters of the head, by preset
    for name in list_presets():
        config = load_preset(name).config
        rest = params - config.num_params
        has_qkv = shapes.count((config.hidden_dim, 3 * config.hidden_dim)) >= config.num_layers
        if has_qkv and (
            rest == 0 or (rest > 0 and rest % (config.feature_dim + 1) == 0 and rest < 0.5 * config.num_params)
        ):
            rests.append((rest, name))
    rests.sort()
    num_classes = rests[0][0] // (load_preset(rests[0][1]).config.feature_dim + 1) if rests else 0
    return {"params": params, "num_classes": num_classes or None, "presets": [name for _, name in rests]}
