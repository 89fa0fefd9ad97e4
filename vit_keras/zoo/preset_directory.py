"""Reads directories with a model: preset directories, and those that transformers, timm or KerasHub wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from vit_keras.config import ViTConfig
from vit_keras.data.images.preprocess import Preprocessing, default_preprocessing
from vit_keras.data.task_names import TASKS
from vit_keras.errors import CorruptFileError, InvalidArgumentError, ResumeError, StorageError, UnsafeFileError
from vit_keras.runtime.files import file_sha256
from vit_keras.runtime.strict_json import parse_json
from vit_keras.validation import is_number, list_words
from vit_keras.weights.formats.tensor_file import errors_of_reading, prefix_errors
from vit_keras.weights.lora.adapter_config import ADAPTER_CONFIG
from vit_keras.weights.mappings.config_fields import HF_PROBLEM_TYPES
from vit_keras.weights.settings.keras_hub import TASK, keras_hub_activation
from vit_keras.weights.settings.open_clip import OPEN_CLIP
from vit_keras.weights.settings.read import Settings, library_of, read_json, read_json_if_any, read_settings
from vit_keras.weights.writers.requirements import check_preprocessing
from vit_keras.zoo.find_model import model_directory
from vit_keras.zoo.model_end import ModelEnd

FORMAT = 1
CONFIG, WEIGHTS, LABELS, CARD = "config.json", "model.safetensors", "labels.json", "README.md"
_CODE_NAMES = {"class_name", "module", "registered_name"}  # Keras runs the code that these keys name


@dataclass(frozen=True)
class ModelDirectory:
    """What a directory's config.json says of its model."""

    path: Path
    config_json: Mapping[str, Any]
    config: ViTConfig
    num_classes: int | None
    end: ModelEnd = field(default_factory=ModelEnd)
    sha256: str | None = None  # of the weights; None where it is not stated
    preprocessing: Preprocessing | None = None  # None where it is not stated
    settings: Settings | None = None  # of a directory of transformers, timm, OpenCLIP or KerasHub
    task: str | None = None  # None for single labels, and where it is not stated
    threshold: float | None = None  # of a multi-label model

    def read_settings(self) -> Settings:
        """Returns the settings of the weights in this directory."""
        return self.settings or read_settings(self.path, config_json=self.config_json)

    def read_preprocessing(self) -> Preprocessing:
        """Returns the preprocessing; where the directory states none, a resize to the model's size without a crop."""
        if self.preprocessing is not None:
            return self.preprocessing
        stated = self.settings.preprocessing if self.settings is not None else None
        with prefix_errors(self.path / CONFIG):
            usual = default_preprocessing(self.config)
            return usual.replace(**stated) if stated is not None else usual

    def class_names(self) -> tuple[str, ...]:
        """Returns the names of the model's outputs; their indices where the directory has no names."""
        if self.settings is not None:
            return self.settings.class_names or tuple(str(index) for index in range(self.num_classes or 0))
        path = self.path / LABELS
        labels = _read_json(path)
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise CorruptFileError(f"{path}: expected a list of class names.")
        if len(labels) != (self.num_classes or 0):
            raise CorruptFileError(f"{path}: {len(labels)} class names for a model of {self.num_classes or 0} classes.")
        return tuple(labels)

    def check_weights(self) -> None:
        """Raises `CorruptFileError` where the weights are not those that config.json was written with."""
        path = self.path / WEIGHTS
        if self.sha256 is None or not path.is_file():
            return
        with errors_of_reading(path):
            actual = file_sha256(path)
        if actual != self.sha256:
            raise CorruptFileError(
                f"{path}: has sha256 {actual}, and {CONFIG} says {self.sha256}: the file is damaged or was replaced. Copy it "
                f"again; if you replaced it on purpose, remove sha256 from {CONFIG}."
            )


def read_directory(directory: str | Path) -> ModelDirectory:
    """Returns what a directory's config.json says of its model."""
    folder = model_directory(Path(directory))
    path = folder / CONFIG
    if not path.is_file() and (folder / OPEN_CLIP).is_file():
        path = folder / OPEN_CLIP
    if folder.is_dir() and not path.is_file():
        _refuse_without_model(folder)
    saved = _read_json(path)
    if isinstance(saved, dict) and library_of(saved) in ("huggingface", "timm", "keras_hub", "open_clip"):
        settings = read_settings(folder, config_json=saved)
        end = ModelEnd()
        if library_of(saved) == "keras_hub" and settings.num_classes is not None:
            end = ModelEnd(keras_hub_activation(read_json_if_any(folder / TASK)))
        problems = {theirs: task for task, theirs in HF_PROBLEM_TYPES.items()}
        problem = saved.get("problem_type")
        task = problems.get(problem) if isinstance(problem, str) and settings.num_classes is not None else None
        if library_of(saved) == "huggingface" and problem is None and settings.num_classes == 1:
            task = "regression"  # as in transformers
        return ModelDirectory(folder, saved, settings.config(), settings.num_classes, end, settings=settings, task=task)
    if not isinstance(saved, dict) or not isinstance(saved.get("config"), dict):
        raise CorruptFileError(
            f"{path}: this is not the config of a preset directory; expected format, num_classes and config."
        )
    own_head = saved.get("own_head")
    layers = [layer for layer in own_head if isinstance(layer, dict)] if isinstance(own_head, list) else []
    code = sorted(_CODE_NAMES & {*saved, *saved["config"], *(key for layer in layers for key in layer)})
    if code:
        raise UnsafeFileError(
            f"{path}: {list_words(code)} name code to run, which no preset directory does; nothing was run."
        )
    if saved.get("format") != FORMAT:
        raise InvalidArgumentError(
            f"{path} has format {saved.get('format')!r}; this version of vit_keras reads format {FORMAT}. Use the version that "
            f"wrote it: {saved.get('vit_keras', 'unknown')!s:.20}."
        )
    classes = saved.get("num_classes")
    if classes is not None and (type(classes) is not int or classes < 1):
        raise InvalidArgumentError(f"{path}: num_classes is {classes!r}; expected a positive integer or null.")
    hashes = saved.get("sha256")
    sha256 = hashes.get(WEIGHTS) if isinstance(hashes, dict) else None
    if hashes is not None and not isinstance(sha256, str):
        raise CorruptFileError(f"{path}: sha256 is {hashes!r}; expected the hash of {WEIGHTS}, or null.")
    with prefix_errors(path):
        config = ViTConfig.from_dict(saved["config"])
        end = ModelEnd.from_dict(saved, classes)
        # Earlier versions called the key "resizing".
        preprocessing = _read_preprocessing(saved.get("preprocessing", saved.get("resizing")), config)
        task, threshold = _read_task(saved)
    return ModelDirectory(folder, saved, config, classes, end, sha256, preprocessing, task=task, threshold=threshold)


def _refuse_without_model(folder: Path) -> NoReturn:
    """Raises the error for an adapter of PEFT, for a run or a search that is not finished, or for any other directory."""
    if (folder / ADAPTER_CONFIG).is_file():
        raise InvalidArgumentError(
            f"{folder}: this is a LoRA adapter of PEFT, not a whole model: vk.training.load_lora(vk.from_preset(BASE), {str(folder)!r}), "
            "where BASE is the model it was trained on."
        )
    record = folder / "run.json"
    command = ""
    if record.is_file():
        run = parse_json(record.read_bytes(), record)
        command = run.get("command", "train") if isinstance(run, dict) else "train"
    elif (folder / "journal.jsonl").is_file():
        command = "tune"
    if command:
        raise ResumeError(
            f"{folder}: this {'search' if command == 'tune' else 'run'} is not finished and has no model yet. Finish it: vit-keras "
            f"{command} --resume --run-dir {folder}"
        )
    raise StorageError(
        f"{folder}: there is no model in this directory; expected a run directory, or a preset directory with {CONFIG}, {WEIGHTS} and "
        f"{LABELS}."
    )


def load_preprocessing(directory: str | Path) -> Preprocessing:
    """Returns the preprocessing of a directory's model; where it states none, a resize to the model's size without a crop.

    Args:
        directory: A run directory, a preset directory, or a directory of transformers or timm.

    Raises:
        StorageError: A file does not exist.
        CorruptFileError: A file is damaged.
        InvalidArgumentError: A field is unknown, missing or illegal, or does not fit the model.
    """
    return read_directory(directory).read_preprocessing()


def load_class_names(directory: str | Path) -> tuple[str, ...]:
    """Returns the names of the outputs of a directory's model; their indices where it has no names.

    Args:
        directory: A run directory, a preset directory, or a directory of transformers or timm.

    Raises:
        StorageError: A file does not exist.
        CorruptFileError: The names are damaged, or not as many as the classes.
    """
    return read_directory(directory).class_names()


def task_settings(model: Any) -> dict[str, Any]:
    """Returns the keys of config.json for a model's task and threshold; none for single labels, as earlier versions wrote them."""
    task, threshold = getattr(model, "task", None), getattr(model, "threshold", None)
    if task in (None, "single_label"):
        return {}
    return {"task": task, **({} if threshold is None else {"threshold": threshold})}


def _read_task(saved: Mapping[str, Any]) -> tuple[str | None, float | None]:
    task, threshold = saved.get("task"), saved.get("threshold")
    if task is not None and task not in TASKS:
        raise InvalidArgumentError(f"task is {task!r:.100}; expected one of {list_words(TASKS)}.")
    if threshold is not None and not (is_number(threshold) and 0 <= threshold <= 1):
        raise InvalidArgumentError(f"threshold is {threshold!r:.100}; expected a probability or null.")
    return task, threshold


def _read_preprocessing(values: Any, config: ViTConfig) -> Preprocessing | None:
    if values is None:
        return None
    optional = {"pixel_range", "patch_size", "max_num_patches"}  # written only where they are stated
    known = {item.name for item in fields(Preprocessing)} - optional
    if not isinstance(values, Mapping) or {*values} - optional != known:
        raise InvalidArgumentError(
            f"preprocessing is {values!r:.200}; expected null, or exactly {list_words(sorted(known))}."
        )
    words = all(isinstance(values[name], str) for name in ("crop_mode", "interpolation"))
    if not words or not isinstance(values["image_size"], list):
        raise InvalidArgumentError(
            f"preprocessing is {values!r:.200}; expected strings for crop_mode and interpolation, a list for image_size."
        )
    preprocessing = Preprocessing.from_dict(values)
    check_preprocessing(preprocessing, config)
    return preprocessing


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file; a preset directory has {CONFIG}, {WEIGHTS} and {LABELS}.")
    return read_json(path)
