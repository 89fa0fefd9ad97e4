"""Says what a file or directory with a model is, which preset fits it, what it lacks, and how to load it."""

import json
import shlex
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError, VitKerasError
from vit_keras.presets import load_preset
from vit_keras.presets.family import read_family
from vit_keras.runtime.strict_json import parse_json
from vit_keras.validation import list_words
from vit_keras.weights.formats.opening import STANDARD_NAMES, is_keras_hub, open_tensors
from vit_keras.weights.formats.tensor_file import errors_of_reading
from vit_keras.weights.lora.adapter_config import ADAPTER_CONFIG, read_adapter_config
from vit_keras.weights.lora.adapter_file import find_adapter, is_adapter, sort_names
from vit_keras.weights.settings.huggingface import huggingface_settings
from vit_keras.weights.settings.keras_hub import CONVERTER, TASK, keras_hub_settings
from vit_keras.weights.settings.open_clip import OPEN_CLIP, open_clip_settings
from vit_keras.weights.settings.read import (
    CONFIG,
    Settings,
    library_of,
    read_json,
    read_json_if_any,
    read_processor,
    read_settings,
)
from vit_keras.weights.settings.timm import timm_settings
from vit_keras.zoo.checkpoint_tensors import (
    SHOWN,
    count_parameters,
    describe_keras_weights,
    describe_tensors,
    list_missing,
)
from vit_keras.zoo.find_model import find_model
from vit_keras.zoo.matching_presets import find_presets, list_changes

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle")
_CHECKPOINTS = (".safetensors", ".npz", ".safetensors.index.json")
_KNOWN = (*_CHECKPOINTS, *_PICKLES, ".keras", ".h5", ".toml", ".json")


def checkpoint_info(path: str | Path) -> dict[str, Any]:
    """Returns what a file or directory with a model is, and how to load it; no tensor is read, and nothing is run.

    Args:
        path: A safetensors or npz file, a `.keras`, `.weights.h5` or pickled file, a TOML file of presets, a config.json, or a directory:
            of a run, a preset, transformers, timm, KerasHub, or PEFT.

    Returns:
        `path`; `what`, one sentence; `library`, `prefix` of the tensors' names, `dtypes`, `params` (parameters), `num_classes`,
        `class_names`, `image_size` (px), `patch_size` (px), each None where it is not known; `presets` whose architecture it has, the
        nearest first; `settings`, the stated fields that differ from the first preset's; `missing`, a sentence for each thing that
        is not stated; `python` and `command`, lines that load it.

    Raises:
        StorageError: There is no such file or directory, or it has no model.
        CorruptFileError: It is damaged.
        InvalidArgumentError: It is of an unknown kind.

    Example:
        >>> import tempfile
        >>> from vit_keras import from_preset, save_preset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     info = checkpoint_info(save_preset(from_preset("test_vit", num_classes=2), folder + "/mine"))
        >>> info["library"], info["presets"][0], info["num_classes"]
        ('vit_keras', 'test_vit', 2)
    """
    given = Path(path)
    if not given.exists():
        raise StorageError(f"{given}: there is no such file or directory.")
    info = _describe_directory(given) if given.is_dir() else _describe_file(given)
    empty = dict.fromkeys(
        ("library", "prefix", "dtypes", "params", "num_classes", "class_names", "image_size", "patch_size")
    )
    lists: dict[str, Any] = {"presets": [], "settings": {}, "missing": [], "python": [], "command": []}
    found = {"path": str(given), "what": "", **empty, **lists, **info}
    if any("vk." in line for line in found["python"]):
        found["python"] = ["import vit_keras as vk", *found["python"]]
    return found


# Directories


def _describe_directory(path: Path) -> dict[str, Any]:
    if (path / ADAPTER_CONFIG).is_file():
        return _describe_adapter(path)
    inside = find_model(path).path or path
    if inside != path:
        return {
            **_describe_directory(inside),
            "what": f"the run directory {path}; its model is {inside.name}",
            **_opened(path),
        }
    if (path / "run.json").is_file() or (path / "journal.jsonl").is_file():
        command = "tune" if (path / "journal.jsonl").is_file() else _command_of(path / "run.json")
        line = f"vit-keras {command} --resume --run-dir {shlex.quote(str(path))}"
        return {"what": "a run that is not finished and has no model yet", "command": [line]}
    config_path = next((path / name for name in (CONFIG, OPEN_CLIP) if (path / name).is_file()), path / CONFIG)
    config = read_json_if_any(config_path)
    is_hub = isinstance(config, dict) and str(config.get("module", "")).startswith("keras_hub")
    if isinstance(config, dict) and is_hub and is_keras_hub(path) and config.get("class_name") == "ViTBackbone":
        return _describe_saved(path, config)
    if isinstance(config, dict) and is_hub:
        return _describe_kerashub(path, config)
    if isinstance(config, dict) and library_of(config) is not None:
        return _describe_saved(path, config) if _has_weights(path) else _describe_config(config_path, config)
    if _has_weights(path):
        return _describe_checkpoint(path)
    files = sorted(each for each in path.iterdir() if each.is_file() and each.name.endswith(_KNOWN))
    if len(files) == 1:
        return _describe_file(files[0])
    names = list_words(each.name for each in files) if files else "none of a known kind"
    raise StorageError(
        f"{path}: this folder is of no known kind: it has neither {CONFIG} nor {' nor '.join(STANDARD_NAMES)}. Its files are {names}: "
        "give one of them."
    )


def _opened(path: Path) -> dict[str, Any]:
    return {"python": [f"model = vk.load_model({str(path)!r})"], "command": [_convert(path)]}


def _command_of(path: Path) -> str:
    with errors_of_reading(path):
        record = parse_json(path.read_bytes(), path)
    return str(record.get("command", "train")) if isinstance(record, dict) else "train"


def _describe_saved(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Describes a directory with a config.json and weights."""
    library = library_of(config)
    writers = {
        "vit_keras": "a preset directory of vit_keras",
        "huggingface": "a directory of transformers",
        "timm": "a directory of timm",
        "keras_hub": "a preset directory of KerasHub",
        "open_clip": "a directory of OpenCLIP",
    }
    settings = read_settings(path, config_json=config)
    found = describe_tensors(path, settings)
    names = settings.class_names if library != "vit_keras" else _read_labels(path)
    preprocessing = (
        settings.preprocessing if library != "vit_keras" else config.get("preprocessing", config.get("resizing"))
    )
    model = (
        f": {config['model_type']}"
        if library == "huggingface"
        else f": {config['architecture']}"
        if library == "timm"
        else ""
    )
    return {
        **found,
        "what": f"{writers[str(library)]}{model}",
        "class_names": list(names) if names else None,
        "missing": list_missing(settings, found, has_names=bool(names), has_preprocessing=preprocessing is not None),
        "python": [f"model = vk.from_preset({str(path)!r})"],
        "command": [_convert(path)],
    }


def _read_labels(path: Path) -> list[str] | None:
    labels = read_json(path / "labels.json") if (path / "labels.json").is_file() else None
    is_named = isinstance(labels, list) and labels != [str(index) for index in range(len(labels))]
    return labels if is_named else None


def _has_weights(path: Path) -> bool:
    try:
        open_tensors(path).close()
    except StorageError:
        return False
    return True


def _describe_kerashub(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "what": f"a preset directory of KerasHub: {config.get('class_name')}",
        "library": "keras_hub",
        "missing": ["of KerasHub's models, vit_keras reads ViTBackbone and ViTImageClassifier, in one weights file"],
        "python": ["import keras_hub", f"model = keras_hub.models.Backbone.from_preset({str(path)!r})"],
    }


def _describe_adapter(path: Path) -> dict[str, Any]:
    """Describes an adapter of PEFT, given by its directory or file."""
    file_path, config_path = find_adapter(path)
    config = read_adapter_config(config_path) if config_path is not None else None
    with open_tensors(file_path) as file:
        tensors = dict(file.tensors)
        names = sort_names(file)
    pairs = [tensors[down].shape[0] for down, _ in names.pairs.values()]
    base = config.base_model if config is not None else None
    model = _find_base(base)
    alpha = "" if config is not None else ", alpha=ALPHA"
    missing = (
        [] if model is not None else [f"the base model{f', {base}: give its directory or preset' if base else ''}"]
    )
    missing += [] if config is not None else [f"alpha, which {ADAPTER_CONFIG} states"]
    kinds = ", ".join(sorted({module.rpartition(".")[2] for module in names.pairs}))
    return {
        "what": f"a LoRA adapter of PEFT of rank {', '.join(map(str, sorted(set(pairs))))}, on {len(pairs)} layers ({kinds})",
        "library": "peft",
        **count_parameters(tensors),
        "missing": missing,
        "python": [f"model = vk.training.load_lora(vk.from_preset({model or 'BASE'!r}), {str(path)!r}{alpha})"],
    }


def _find_base(base: str | None) -> str | None:
    """Returns what `from_preset` takes for PEFT's base model: its directory, or a preset's weights."""
    if base is None or Path(base).is_dir():
        return base
    try:
        found = find_model(base)
    except VitKerasError:
        return None
    return f"{found.preset}:{found.tag}" if found.tag is not None else found.preset


# Files


def _describe_file(path: Path) -> dict[str, Any]:
    kinds: dict[str, Callable[[Path], dict[str, Any]]] = {
        **dict.fromkeys(_CHECKPOINTS, _describe_checkpoint),
        **dict.fromkeys(_PICKLES, _describe_pickle),
        ".weights.h5": _describe_weights,
        ".keras": _describe_keras,
        ".toml": _describe_presets,
        ".json": lambda path: _describe_config(path, read_json(path)),
    }
    describe = next((kinds[ending] for ending in kinds if path.name.lower().endswith(ending)), None)
    if describe is not None:
        return describe(path)
    try:
        return _describe_checkpoint(path)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{error} Known endings are {', '.join(kinds)}.") from error


def _describe_checkpoint(path: Path) -> dict[str, Any]:
    """Describes weights without a config.json that says what they are of."""
    with open_tensors(path) as file:
        names = list(file.tensors)
    if is_adapter(names):
        return _describe_adapter(path)
    settings = read_settings(path)
    found = describe_tensors(path, settings)
    endings = {".json": "sharded safetensors", ".npz": "npz"} | dict.fromkeys(_PICKLES, "a file of torch.save")
    kind = endings.get(path.suffix.lower(), "safetensors")
    missing = list_missing(settings, found, has_names=False, has_preprocessing=False)
    if not found["presets"]:
        missing.insert(
            0,
            "a preset of this architecture: build it with vk.vit(vk.ViTConfig(...)), then vk.weights.load(model, path)",
        )
        return {**found, "what": f"weights in {kind}, of {found.pop('title')}", "missing": missing}
    preset, size = found["presets"][0], found["image_size"]
    own = load_preset(preset).config.image_size
    change = f", image_size={size!r}" if size is not None and size != own and not settings.stated else ""
    return {
        **found,
        "what": f"weights in {kind}, of {found.pop('title')}",
        "missing": missing,
        "python": [f"model = vk.from_preset({preset!r}, weights={str(path)!r}{change})"],
        "command": [_convert(path, f" --preset {preset}")],
    }


def _describe_pickle(path: Path) -> dict[str, Any]:
    """Describes a file of `torch.save`: weights where it can be read without unpickling, else the lines that convert it."""
    try:
        return _describe_checkpoint(path)
    except UnsafeFileError:
        pass
    target = str(path.with_suffix(".safetensors"))
    return {
        "what": "a pickle, as torch writes it, without a model that vit_keras reads: unpickling can run code; convert it if you trust it",
        "python": [
            "import torch, safetensors.torch",
            f"state = torch.load({str(path)!r}, map_location='cpu', weights_only=True)",
            f"safetensors.torch.save_file({{k: v.contiguous() for k, v in state.get('model', state).items()}}, {target!r})",
        ],
        "command": [f"vit-keras info {shlex.quote(target)}"],
    }


def _describe_keras(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise CorruptFileError(f"{path}: not a .keras file, or truncated.")
    with errors_of_reading(path), zipfile.ZipFile(path) as archive:
        try:
            config = json.loads(archive.read("config.json"))
            layers = config["config"]["layers"]
            shape = layers[0]["config"]["batch_shape"]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{path}: not a model that Keras saved ({error!r}).") from error
    ours = any(str(layer.get("registered_name")).startswith("vit_keras>") for layer in layers)
    units = [layer["config"]["units"] for layer in layers if layer["class_name"] == "Dense"]
    return {
        "what": "a Keras file of a vit_keras model" if ours else "a Keras file of another model than vit_keras'",
        "library": "vit_keras" if ours else "keras",
        "num_classes": units[-1] if units else None,
        "image_size": tuple(shape[1:3]) if len(shape) == 4 else None,
        "missing": ["class names", "how images are resized"],
        **(_opened(path) if ours else {"python": ["import keras", f"model = keras.saving.load_model({str(path)!r})"]}),
    } | ({"command": []} if ours else {})


def _describe_weights(path: Path) -> dict[str, Any]:
    found = describe_keras_weights(path)
    names = found["presets"]
    if not names:
        missing = ["the architecture: no preset has as many parameters"]
        return {**found, "what": "weights that Keras saved", "library": "keras", "missing": missing}
    return {
        **found,
        "what": "weights that Keras saved (model.save_weights)",
        "library": "vit_keras",
        "missing": ["the architecture: chosen by the number of parameters", "class names", "how images are resized"],
        "python": [f"model = vk.load_model({str(path)!r}, preset={names[0]!r})"],
    }


def _describe_presets(path: Path) -> dict[str, Any]:
    with errors_of_reading(path):
        presets = read_family(str(path), path.read_text("utf-8", "replace"))
    if not presets:
        raise InvalidArgumentError(f"{path}: there is no preset in it.")
    first = presets[0]
    return {
        "what": f"presets: {', '.join(preset.name for preset in presets)}",
        "library": "vit_keras",
        "params": first.params if len(presets) == 1 else None,
        "presets": [preset.name for preset in presets],
        "image_size": first.config.image_size if len(presets) == 1 else None,
        "patch_size": first.config.patch_size if len(presets) == 1 else None,
        "python": [f"vk.register_presets({str(path)!r})", f"model = vk.from_preset({first.name!r})"],
        "command": [f"VIT_KERAS_PRESETS={shlex.quote(str(path))} vit-keras info {first.name}"],
    }


def _describe_config(path: Path, config_json: Any) -> dict[str, Any]:
    """Describes a config.json without weights."""
    library = library_of(config_json) if isinstance(config_json, dict) else None
    if library is None:
        raise InvalidArgumentError(f"{path}: this is no config.json of vit_keras, transformers or timm.")
    if library == "vit_keras":
        found: dict[str, Any] = {"stated": config_json["config"], "class_names": None, "preprocessing": None}
        classes = config_json.get("num_classes")
    elif library == "keras_hub":
        task, converter = (read_json_if_any(path.with_name(name)) for name in (TASK, CONVERTER))
        found, classes = keras_hub_settings(config_json, task, converter, path), None
    elif library == "open_clip":
        found, classes = open_clip_settings(config_json, path), config_json["model_cfg"].get("embed_dim")
    elif library == "timm":
        found = timm_settings(config_json, path)
        classes = config_json.get("num_classes") or len(found["class_names"]) or None
    else:
        found = huggingface_settings(config_json, read_processor(path), {}, path)
        labels = config_json.get("id2label")
        classes = len(labels) if isinstance(labels, dict) else None
    settings = Settings(origin=str(path), **found)
    config = settings.config()
    presets = find_presets(config.to_dict())
    changes = list_changes(config, presets[0]) if presets else config.to_dict()
    arguments = "".join(f", {name}={value!r}" for name, value in changes.items())
    head = f", num_classes={classes}" if classes else ""
    fields = ", ".join(f"{name}={value!r}" for name, value in changes.items())
    return {
        "what": f"the config.json of a model of {library}, without weights",
        "library": library,
        "params": config.num_params + (classes or 0) * (config.feature_dim + 1),
        "num_classes": classes,
        "class_names": list(settings.class_names) if settings.class_names else None,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "presets": presets[:SHOWN],
        "settings": changes if presets else {},
        "missing": ["weights: what this builds starts from random ones"],
        "python": [
            f"model = vk.from_preset({presets[0]!r}{head}{arguments})"
            if presets
            else f"model = vk.vit(vk.ViTConfig({fields}){head})"
        ],
    }


def _convert(path: Path, more: str = "") -> str:
    target = path.name.partition(".")[0] + "-vit_keras"
    return f"vit-keras convert {shlex.quote(str(path))} {shlex.quote(target)}{more}"
