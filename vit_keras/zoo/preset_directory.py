"""Preset, model and weights joined: `from_preset`, `save_preset`."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import keras

from vit_keras.config import ViTConfig
from vit_keras.data.class_names import are_numbers
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError
from vit_keras.models.own_head import build, check_activation, describe, find_classifier
from vit_keras.models.vit import append_layers, check_not_quantized, model_num_classes, vit
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.presets import Checkpoint, Preset, checkpoint_bytes, list_presets, load_preset
from vit_keras.runtime.files import atomic_directory, file_sha256, write_text
from vit_keras.version import __version__
from vit_keras.weights import AdaptOptions, load, write_tensors
from vit_keras.weights.download.fetch import fetch
from vit_keras.weights.head_features import head_change
from vit_keras.weights.settings.read import (
    LARGEST_JSON,
    apply_settings,
    library_of,
    read_json,
    read_settings,
    say_assumed,
)
from vit_keras.weights.writers.resizing_rule import check_fits
from vit_keras.zoo.card import card_of
from vit_keras.zoo.rebuild import rebuild

FORMAT = 1
_CONFIG, _WEIGHTS, _LABELS, _CARD = "config.json", "model.safetensors", "labels.json", "README.md"
_LARGEST_JSON = 2**20
_CODE_NAMES = {"class_name", "module", "registered_name"}  # by which Keras' own files say what to run
_log = logging.getLogger(__name__)


def from_preset(
    preset: str | Path,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    classifier_activation: str | None = None,
    accept_license: bool = False,
    source: str = "auto",
    name: str | None = None,
    **changes: Any,
) -> keras.Model:
    """Returns the model of a preset's name, or of a directory that `save_preset`, transformers or timm wrote.

    Weights fit another image size, patch size, number of channels or of classes, or fewer layers: positions and patches are
    resized by the preset's rules, and the head is made new, at zero. The logger `vit_keras` says so, as a warning.

    A checkpoint given by its path also says what its shapes do not tell: a config.json beside it, else its names, count before the
    preset for image size, heads, activation, epsilon, pixel statistics, pooling and final norm. What differs is logged, and so is what
    nothing says and is taken from the preset. An argument given here counts before both.

    Args:
        preset: A name of `list_presets()`, or a directory, whose weights and head come with it: a preset directory, or one that
            transformers' `save_pretrained` or timm's `save_for_hf` wrote.
        weights: None for random weights (for a directory: its own), a tag of the preset's checkpoints, or the path of a
            checkpoint: a directory, safetensors with timm's, Hugging Face's, Meta's or our names, or Google's npz.
        num_classes: Classes of the head; 0 for no head, None for as many as the weights have.
        image_size: Height and width, px, in place of the preset's.
        classifier_activation: What the head ends in: "softmax" for probabilities, "linear" for logits; None for what a directory
            was saved with, and for logits otherwise.
        accept_license: Says yes to the license of weights that restricts their use.
        source: Whose names a checkpoint given by its path has: "timm", "huggingface", "google", "meta", "vit_keras", or "auto" to go by
            them.
        name: The model's name, by which two of one preset can stand in one model; None for the preset's.
        **changes: Fields of `ViTConfig` in place of the preset's.

    Raises:
        InvalidArgumentError: An argument is not legal, or a license was not accepted; nothing was built.
        StorageError: A file is not there, or could not be downloaded.
        CorruptFileError: A file is damaged.
        WeightMismatchError: The weights do not fit the model.

    Example:
        >>> from_preset("vit_tiny_patch16_224", num_classes=10).output_shape
        (None, 10)
    """
    if image_size is not None:
        changes["image_size"] = image_size
    directory = _directory_of(preset)
    checkpoint, expected, saved_classes, end = None, None, None, _End()
    if directory is None:
        loaded = load_preset(str(preset))
        config = loaded.config
        if isinstance(weights, str) and not Path(weights).exists():
            checkpoint = _checkpoint(loaded, weights, accept_license=accept_license)
            config, saved_classes = config.replace(**checkpoint.config), checkpoint.num_classes
            source = checkpoint.source
    elif _is_foreign(directory):
        settings = read_settings(directory)
        config, saved_classes = settings.config(), settings.num_classes
        if weights is None:
            say_assumed(settings, config.replace(**changes))
    else:
        saved = _read_config(directory)
        config, saved_classes, expected, end = saved.config, saved.num_classes, saved.sha256, saved.end
    trained = asdict(config)  # what the weights' model is like
    if weights is not None and checkpoint is None:
        settings = read_settings(weights, source=source)
        config = apply_settings(config, settings, asked=changes)
        saved_classes = settings.num_classes if directory is None else saved_classes
        trained, expected = settings.fields, None
    config = config.replace(**changes)
    classes = saved_classes if num_classes is None else num_classes
    name = name or (str(preset) if directory is None else "vit")
    model = end.build(config, num_classes=classes or None, classifier_activation=classifier_activation, name=name)
    if checkpoint is not None:
        weights = fetch(
            checkpoint.url,
            sha256=checkpoint.sha256,
            max_bytes=_largest_download(config, checkpoint),
            progress=_ProgressBar(),
        )
    elif weights is None:
        weights = directory
    if weights is not None:
        adapt = AdaptOptions(
            head="load" if end.own_head else head_change(num_classes, trained, config) if classes else "fit",
            fewer_layers="num_layers" in changes,
        )
        load(model, weights, source=source, adapt=adapt, keep_on_failure=False)
        if adapt.head != "new":
            model.class_names = _names_beside(Path(weights), model_num_classes(model))
    if end.own_head:
        model = end.adapt(model, num_classes=num_classes, classifier_activation=classifier_activation)
    if directory is not None and expected is not None:
        _check_hash(directory, expected)  # after the load: what changed while it was read is seen too
    return model


def _is_foreign(directory: Path) -> bool:
    """Whether a directory is of transformers or timm."""
    said = _read_json(directory / _CONFIG, largest=LARGEST_JSON)
    return isinstance(said, dict) and library_of(said) in ("huggingface", "timm")


def _names_beside(weights: Path, num_classes: int | None) -> tuple[str, ...] | None:
    """Returns what the outputs of a directory's model mean; None where that is not known, or they are numbers alone."""
    if not (weights / _CONFIG).is_file() or not ((weights / _LABELS).is_file() or _is_foreign(weights)):
        return None
    names = load_class_names(weights)
    return names if len(names) == num_classes and not are_numbers(names) else None


class _ProgressBar:
    """Keras' bar over the bytes of a download, from the first that come."""

    def __init__(self) -> None:
        self.bar: keras.utils.Progbar | None = None

    def __call__(self, done: int, total: int | None) -> None:
        if self.bar is None:
            self.bar = keras.utils.Progbar(total, unit_name="byte")
        self.bar.update(done)


def _checkpoint(preset: Preset, tag: str, *, accept_license: bool) -> Checkpoint:
    if tag not in preset.weights:
        raise InvalidArgumentError(
            f"The preset {preset.name!r} has no weights {tag!r}: its tags are {sorted(preset.weights)}, and there is no "
            "such file. weights=None starts from random weights."
        )
    checkpoint = preset.weights[tag]
    if checkpoint.needs_acceptance and not accept_license:
        raise InvalidArgumentError(
            f"The weights {tag!r} of {preset.name!r} are under the {checkpoint.license}, which restricts their use. Read it at "
            f"{preset.paper} and {checkpoint.url}, then pass accept_license=True."
        )
    return checkpoint


def _largest_download(config: ViTConfig, checkpoint: Checkpoint) -> int:
    """Twice what the weights need in float32: some checkpoints hold a second tower, larger positions or patches."""
    return 2 * checkpoint_bytes(config, checkpoint) + 64 * 2**20


def save_preset(
    model: keras.Model,
    directory: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    notes: str = "",
    preprocessing: Preprocessing | None = None,
) -> Path:
    """Writes a model as a preset directory: `config.json`, `model.safetensors`, `labels.json`, `README.md`.

    The directory appears whole or not at all.

    Args:
        model: A model that `vit` or `from_preset` made. Simple layers of Keras behind it, such as a head of your own, are saved
            with it; a model with more than that is refused, and `model.save` saves it.
        directory: Where to; it must not exist.
        class_names: What the head's outputs mean; by default their numbers.
        notes: Markdown for the model card.
        preprocessing: What brings images to the model's size, such as `preset_preprocessing` a preset's weights; None for the size, uncut.

    Raises:
        InvalidArgumentError: The model is none of ours, is quantized or does more than is saved, the class names are not as many as
            its classes, or images are resized to another size than the model's.
        StorageError: The directory exists or cannot be written.

    Example:
        >>> import tempfile
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_preset(vit(config, num_classes=2), folder + "/mine", class_names=["cat", "dog"])
        ...     sorted(item.name for item in path.iterdir()), load_class_names(path)
        (['README.md', 'config.json', 'labels.json', 'model.safetensors'], ('cat', 'dog'))
    """
    target = Path(directory)
    check_not_quantized(model, "save_preset")
    parts = read_model(model)
    config, classes = parts.config, parts.num_classes
    end = _End.of(parts)
    names = list(class_names) if class_names is not None else [str(index) for index in range(classes or 0)]
    if len(names) != (classes or 0):
        raise InvalidArgumentError(f"{len(names)} class names for a model of {classes or 0} classes.")
    if preprocessing is not None:
        check_fits(preprocessing, config)
    with atomic_directory(target) as unfinished:
        write_tensors(
            {name: keras.ops.convert_to_numpy(weight) for name, weight in parts.weights().items()},
            unfinished / _WEIGHTS,
        )
        written = {
            "format": FORMAT,
            "vit_keras": __version__,
            "num_classes": classes,
            "sha256": {_WEIGHTS: file_sha256(unfinished / _WEIGHTS)},
            "config": config.to_dict(),
            **end.to_dict(),
        }
        if preprocessing is not None:
            written["preprocessing"] = preprocessing.to_dict()
        write_text(unfinished / _CONFIG, json.dumps(written, indent=2) + "\n")
        write_text(unfinished / _LABELS, json.dumps(names, indent=2, ensure_ascii=False) + "\n")
        write_text(unfinished / _CARD, card_of(target.name, config, class_names=names, notes=notes))
    return target


def write_card(directory: str | Path, *, notes: str) -> None:
    """Writes the model card of a preset directory anew, with what came to be known after it was saved.

    Args:
        directory: What `save_preset` wrote.
        notes: Markdown.

    Raises:
        StorageError: This is no preset directory, or it can't be written; the card that was there still is.
        CorruptFileError: A file of it is damaged.
    """
    folder = Path(directory)
    text = card_of(folder.name, _read_config(folder).config, class_names=load_class_names(folder), notes=notes)
    write_text(folder / _CARD, text)


def load_preprocessing(directory: str | Path) -> Preprocessing:
    """Returns what brings images to the size of a directory's model; to its size and uncut, where it says nothing.

    Args:
        directory: What `save_preset` wrote, or a directory of transformers or timm.

    Raises:
        StorageError: The file is not there.
        CorruptFileError: It is damaged.
        InvalidArgumentError: A field is unknown, missing or not legal, or is not the model's.
    """
    folder = Path(directory)
    if _is_foreign(folder):
        settings = read_settings(folder)
        config = settings.config()
        try:
            return Preprocessing(
                channels=config.channels, **(settings.preprocessing or {"image_size": config.image_size})
            )
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{settings.origin}: {error}") from error
    saved = _read_config(folder)
    if saved.preprocessing is not None:
        return saved.preprocessing
    return Preprocessing(image_size=saved.config.image_size, channels=saved.config.channels)


def load_class_names(directory: str | Path) -> tuple[str, ...]:
    """Returns what the outputs of a directory's model mean.

    Args:
        directory: What `save_preset` wrote, or a directory of transformers or timm.

    Raises:
        StorageError: The file is not there.
        CorruptFileError: It is not a list of words.
    """
    folder = Path(directory)
    if _is_foreign(folder):
        settings = read_settings(folder)
        return settings.class_names or tuple(str(index) for index in range(settings.num_classes or 0))
    path = folder / _LABELS
    labels = _read_json(path)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise CorruptFileError(f"{path}: expected a list of class names.")
    classes = _read_config(folder).num_classes
    if len(labels) != (classes or 0):
        raise CorruptFileError(f"{path}: {len(labels)} class names for a model of {classes or 0} classes.")
    return tuple(labels)


def _directory_of(preset: str | Path) -> Path | None:
    """Returns the path where a preset directory is meant: a path object, a word with a slash, or a folder that is there."""
    path = Path(preset)
    if not isinstance(preset, Path) and preset in list_presets():
        return None
    if isinstance(preset, Path) or os.sep in str(preset) or path.is_dir():
        if not path.is_dir():
            raise StorageError(f"{path}: there is no such preset directory.")
        return path
    return None


@dataclass(frozen=True)
class _End:
    """What a model ends in, behind its features.

    Args:
        classifier_activation: What the head that `vit` makes ends in; None for logits.
        own_head: The user's own layers behind it, as `describe` describes them.
        head_classes: Classes of the head that `vit` makes in front of own layers; None for none.
    """

    classifier_activation: str | None = None
    own_head: list[dict[str, Any]] = field(default_factory=list)
    head_classes: int | None = None

    @classmethod
    def of(cls, parts: ModelParts) -> "_End":
        """Returns a model's end."""
        own_head = describe(parts.own_head)
        return cls(parts.classifier_activation, own_head, parts.head_classes if own_head else None)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], num_classes: int | None) -> "_End":
        """Returns what `to_dict` wrote, checked; a directory without an own head or an activation has none."""
        activation, own_head = saved.get("classifier_activation"), saved.get("own_head", [])
        head_classes = saved.get("head_classes")
        if activation is not None:
            check_activation(activation, what="classifier_activation")
        if head_classes is not None and (type(head_classes) is not int or head_classes < 1):
            raise InvalidArgumentError(f"head_classes is {head_classes!r}; expected a positive whole number, or null.")
        classifier = find_classifier(build(own_head))
        says = classifier.units if classifier is not None else head_classes if own_head else num_classes
        if says != num_classes:
            raise InvalidArgumentError(f"num_classes is {num_classes!r}, and own_head gives {says!r}.")
        if activation is not None and (head_classes if own_head else num_classes) is None:
            raise InvalidArgumentError(f"classifier_activation is {activation!r}, and there is no head.")
        return cls(activation, own_head, head_classes)

    def to_dict(self) -> dict[str, Any]:
        """Returns what `config.json` says of it; nothing of a model that ends in logits or features."""
        own = {"own_head": self.own_head, "head_classes": self.head_classes} if self.own_head else {}
        activation = self.classifier_activation
        return {**({} if activation is None else {"classifier_activation": activation}), **own}

    def build(
        self, config: ViTConfig, *, num_classes: int | None, classifier_activation: str | None, name: str
    ) -> keras.Model:
        """Returns a new model with this end; own layers are as they were saved, whatever else is asked for."""
        if self.own_head:
            body = vit(
                config, num_classes=self.head_classes, classifier_activation=self.classifier_activation, name=name
            )
            return append_layers(body, build(self.own_head))
        activation = classifier_activation or (self.classifier_activation if num_classes else None)
        return vit(config, num_classes=num_classes, classifier_activation=activation, name=name)

    def adapt(self, model: keras.Model, *, num_classes: int | None, classifier_activation: str | None) -> keras.Model:
        """Returns a filled model of `build`, with another number of classes or another activation where that is asked for."""
        if num_classes in (None, model_num_classes(model)) and classifier_activation is None:
            return model
        if num_classes is not None and num_classes != model_num_classes(model):
            _log.warning(
                "the own head's last dense layer is new, for %s classes in place of %s",
                num_classes,
                model_num_classes(model),
            )
        return rebuild(model, num_classes=num_classes, classifier_activation=classifier_activation)


@dataclass(frozen=True)
class _Saved:
    config: ViTConfig
    num_classes: int | None
    end: _End
    sha256: str | None  # of the weights; directories that others made say none
    preprocessing: Preprocessing | None


def _read_config(directory: Path) -> _Saved:
    path = directory / _CONFIG
    saved = _read_json(path)
    if not isinstance(saved, dict) or not isinstance(saved.get("config"), dict):
        raise CorruptFileError(
            f"{path}: this is no config of a preset directory; expected format, num_classes and config."
        )
    own_head = saved.get("own_head")
    layers = [layer for layer in own_head if isinstance(layer, dict)] if isinstance(own_head, list) else []
    code = sorted(_CODE_NAMES & {*saved, *saved["config"], *(key for layer in layers for key in layer)})
    if code:
        raise UnsafeFileError(f"{path}: {code} name code to run, which no config of a preset directory does; none was.")
    if saved.get("format") != FORMAT:
        raise InvalidArgumentError(
            f"{path} has format {saved.get('format')!r}; this version of vit_keras reads format {FORMAT}. It needs the version that "
            f"wrote it: {saved.get('vit_keras', 'unknown')!s:.20}."
        )
    classes = saved.get("num_classes")
    if classes is not None and (type(classes) is not int or classes < 1):
        raise InvalidArgumentError(f"{path}: num_classes is {classes!r}; expected a positive whole number, or null.")
    hashes = saved.get("sha256")
    expected = hashes.get(_WEIGHTS) if isinstance(hashes, dict) else None
    if hashes is not None and not isinstance(expected, str):
        raise CorruptFileError(f"{path}: sha256 is {hashes!r}; expected one of {_WEIGHTS}, or null.")
    try:
        config = ViTConfig.from_dict(saved["config"])
        end = _End.from_dict(saved, classes)
        return _Saved(
            config, classes, end, expected, _preprocessing(saved.get("preprocessing", saved.get("resizing")), config)
        )
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {error}") from error


def _preprocessing(values: Any, config: ViTConfig) -> Preprocessing | None:
    """Returns the rule that `Preprocessing.to_dict` wrote; anything else is refused."""
    if values is None:
        return None
    known = {field.name for field in fields(Preprocessing)}
    if not isinstance(values, Mapping) or set(values) != known:
        raise InvalidArgumentError(f"preprocessing is {values!r:.200}; expected null, or exactly {sorted(known)}.")
    words = [name for name in ("crop_mode", "interpolation") if not isinstance(values[name], str)]
    if words or not isinstance(values["image_size"], list):
        raise InvalidArgumentError(
            f"preprocessing is {values!r:.200}; expected words for crop_mode and interpolation, a list for image_size."
        )
    rule = Preprocessing.from_dict(values)
    check_fits(rule, config)
    return rule


def _check_hash(directory: Path, expected: str) -> None:
    """Raises `CorruptFileError` where the weights are not those that the config was written with."""
    path = directory / _WEIGHTS
    if not path.is_file():
        return
    try:
        actual = file_sha256(path)
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error
    if actual != expected:
        raise CorruptFileError(
            f"{path}: has sha256 {actual}, and {_CONFIG} says {expected}: the file is damaged or another one. Copy it anew; if it "
            f"is meant to be another, take sha256 out of {_CONFIG}."
        )


def _read_json(path: Path, *, largest: int = _LARGEST_JSON) -> Any:
    if not path.is_file():
        raise StorageError(
            f"{path}: there is no such file; a preset directory has {_CONFIG}, {_WEIGHTS} and {_LABELS}."
        )
    return read_json(path, largest=largest)
