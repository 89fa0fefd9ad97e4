"""Builds a model from a preset or a directory, and loads its weights."""

import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from vit_keras.config import ViTConfig
from vit_keras.data.class_names import are_numbers
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.models.vit import model_num_classes
from vit_keras.presets import Checkpoint, Preset, checkpoint_bytes, load_preset
from vit_keras.presets.label_sets import label_names
from vit_keras.presets.names import refuse_tag
from vit_keras.weights.adapt.options import AdaptOptions
from vit_keras.weights.download.fetch import fetch
from vit_keras.weights.head import head_change
from vit_keras.weights.loading import load
from vit_keras.weights.settings.apply import apply_settings
from vit_keras.weights.settings.read import Settings, read_settings
from vit_keras.zoo.find_model import FoundModel, find_model
from vit_keras.zoo.model_end import ModelEnd
from vit_keras.zoo.preset_directory import CONFIG, LABELS, ModelDirectory, read_directory

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
    prefix: str | None = None,
    name: str | None = None,
    offline: bool | None = None,
    **changes: Any,
) -> keras.Model:
    """Returns the model of a preset's name, or of a directory that `save_preset`, transformers, timm or KerasHub wrote.

    Weights are adapted to another image size, patch size, number of channels or classes, or fewer layers: positions and patches
    are resized by the preset's rules, and a new head starts at zero. The logger `vit_keras` reports each change as a warning.

    For a checkpoint given by its path (a directory, safetensors, `torch.save`, or Google's npz), a config.json beside it, else its tensor names,
    override the preset's image size, heads, activation, epsilon, pixel statistics, pooling and final norm, and arguments given here
    override both. The logger reports what differs, and what had to be assumed.

    Args:
        preset: A name of `list_presets()`, `NAME:TAG` for the preset's weights of that tag, or a directory with weights and head.
            timm's names (`NAME.TAG`, `hf_hub:timm/NAME.TAG`) and those of published models on Hugging Face whose weights a preset
            has (`google/vit-base-patch16-224`) mean that `NAME:TAG`.
        weights: None for random weights (for a directory: its own), a tag of the preset's checkpoints, or a checkpoint's path.
        num_classes: Classes of the head; 0 for no head, None for as many as the weights have.
        image_size: Height and width, px, in place of the preset's.
        classifier_activation: "softmax" for probabilities, "linear" for logits; None for what a directory was saved with, else logits.
        accept_license: Accepts a license that restricts the use of the weights.
        source: Whose tensor names a checkpoint has: "vit_keras", "timm", "huggingface", "google", "meta", "torchvision", "keras_hub",
            "lucidrains", "jeonsworld", "microsoft", "mmpretrain", or "auto" to detect it.
        prefix: What stands in front of the names of a checkpoint's tensors, where it holds several models, such as "model_ema".
        name: The model's name; None for the preset's. Two models of one preset need different names inside one model.
        offline: Uses only cached files and never downloads; None for what `VIT_KERAS_OFFLINE` says.
        **changes: Fields of `ViTConfig` in place of the preset's.

    Raises:
        InvalidArgumentError: An argument is illegal, or a license was not accepted; nothing was built.
        StorageError: A file does not exist, or could not be downloaded.
        CorruptFileError: A file is damaged.
        WeightMismatchError: The weights do not fit the model.

    Example:
        >>> from_preset("vit_tiny_patch16_224", num_classes=10).output_shape
        (None, 10)
    """
    if image_size is not None:
        changes["image_size"] = image_size
    found = find_model(preset)
    if found.path is not None and not found.path.is_dir():
        raise StorageError(f"{found.path} is a file: give a preset's name, and the file as weights.")
    return build_and_load(
        read_directory(found.path) if found.path is not None else found,
        weights=weights,
        num_classes=num_classes,
        classifier_activation=classifier_activation,
        accept_license=accept_license,
        source=source,
        prefix=prefix,
        name=name,
        offline=offline,
        **changes,
    )


def build_and_load(
    found: FoundModel | ModelDirectory,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    classifier_activation: str | None = None,
    accept_license: bool = False,
    source: str = "auto",
    prefix: str | None = None,
    name: str | None = None,
    offline: bool | None = None,
    **changes: Any,
) -> keras.Model:
    """Returns the model of `from_preset`, given a preset's name or a directory that was read."""
    if isinstance(found, ModelDirectory):
        origin = _choose_from_directory(found, weights, source=source, prefix=prefix)
    else:
        origin = _choose_from_preset(found, weights, accept_license=accept_license, source=source, prefix=prefix)
    config, trained = origin.config, asdict(origin.config)
    if origin.settings is not None and not origin.is_directory_itself:
        config, trained = apply_settings(config, origin.settings, changes=changes), origin.settings.fields
    config = config.replace(**changes)
    classes = origin.num_classes if num_classes is None else num_classes
    model = origin.end.build_model(
        config,
        num_classes=classes or None,
        classifier_activation=classifier_activation,
        name=name or origin.name,
    )
    path, settings = origin.weights, origin.settings
    if origin.checkpoint is not None:
        path = _locate(origin.checkpoint, config, offline=offline)
        settings = replace(read_settings(path, source=origin.source), inferred=trained)
    if path is None or settings is None:
        return model
    adapt = AdaptOptions(
        head="load" if origin.end.own_head else head_change(num_classes, trained, config) if classes else "fit",
        fewer_layers="num_layers" in changes,
    )
    load(model, path, source=origin.source, prefix=prefix, adapt=adapt, keep_on_failure=False, settings=settings)
    if adapt.head != "new":
        origin.describe_outputs(model, path, settings)
    if origin.end.own_head:
        model = origin.end.adapt(model, num_classes=num_classes, classifier_activation=classifier_activation)
    if origin.directory is not None and origin.is_directory_itself:
        origin.directory.check_weights()  # after loading, so that a change meanwhile is detected
    return model


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """What a model is made from."""

    config: ViTConfig  # of the preset or directory, before the settings beside other weights and the caller's changes
    name: str = "vit"
    end: ModelEnd = field(default_factory=ModelEnd)
    num_classes: int | None = None  # that the weights have
    directory: ModelDirectory | None = None
    checkpoint: Checkpoint | None = None  # of a preset, whose file is found later
    weights: str | Path | None = None  # a file or directory; None for random weights, and for those of `checkpoint`
    settings: Settings | None = None  # of `weights`
    source: str = "auto"

    @property
    def is_directory_itself(self) -> bool:
        """Whether the weights are those of the directory that has the config."""
        return self.directory is not None and self.weights == self.directory.path

    def describe_outputs(self, model: keras.Model, path: str | Path, settings: Settings) -> None:
        """Says what the outputs of a model mean whose head was loaded."""
        classes = model_num_classes(model)
        if self.checkpoint is None or self.checkpoint.file is not None:
            model.class_names = _find_class_names(Path(path), settings, self.directory, classes)
        else:
            model.class_names = _find_label_names(self.checkpoint, classes)
        if self.directory is not None and self.is_directory_itself:
            model.task, model.threshold = self.directory.task, self.directory.threshold


def _choose_from_directory(
    directory: ModelDirectory, weights: str | Path | None, *, source: str, prefix: str | None
) -> _Origin:
    """Returns what is made from a directory: with its own weights, or others."""
    if weights is None:
        weights, settings = directory.path, directory.read_settings()
    else:
        settings = read_settings(weights, source=source, prefix=prefix)
    return _Origin(
        config=directory.config, end=directory.end, num_classes=directory.num_classes, directory=directory, weights=weights,
        settings=settings, source=source,
    )  # fmt: skip


def _choose_from_preset(
    found: FoundModel, weights: str | Path | None, *, accept_license: bool, source: str, prefix: str | None
) -> _Origin:
    """Returns what is made from a preset: with weights of its tags, those of a file, or random ones."""
    preset = load_preset(str(found.preset))
    if found.tag is not None and weights is not None:
        raise InvalidArgumentError(
            f"'{found.preset}:{found.tag}' names weights already: leave out weights={weights!r}."
        )
    tag = found.tag
    if tag is None and isinstance(weights, str) and not Path(weights).exists():
        tag = weights
    if tag is not None:
        checkpoint = _find_checkpoint(preset, tag, accept_license=accept_license)
        if found.taken is not None:
            _log.warning("%s:%s: of the published model, this is %s", preset.name, tag, found.taken)
        return _Origin(
            config=preset.config.replace(**{**checkpoint.config, **found.config}), name=preset.name,
            num_classes=checkpoint.num_classes, checkpoint=checkpoint, source=checkpoint.source,
        )  # fmt: skip
    if weights is None:
        return _Origin(config=preset.config, name=preset.name, source=source)
    settings = read_settings(weights, source=source, prefix=prefix)
    return _Origin(
        config=preset.config, name=preset.name, num_classes=settings.num_classes, weights=weights, settings=settings,
        source=source,
    )  # fmt: skip


def _find_class_names(
    weights: Path, settings: Settings, directory: ModelDirectory | None, num_classes: int | None
) -> tuple[str, ...] | None:
    """Returns the names of the model's outputs; None where they are unknown, or only indices."""
    if not weights.is_dir():
        return None
    names = settings.class_names or ()
    if not names and (weights / LABELS).is_file() and (weights / CONFIG).is_file():
        saved = directory if directory is not None and directory.path == weights else read_directory(weights)
        names = saved.class_names()
    return names if names and len(names) == num_classes and not are_numbers(names) else None


def _find_label_names(checkpoint: Checkpoint, num_classes: int | None) -> tuple[str, ...] | None:
    """Returns the class names of a preset's weights; None where they are unknown, or the head has other classes."""
    if checkpoint.label_set is None or checkpoint.num_classes != num_classes:
        return None
    return label_names(checkpoint.label_set)


def _find_checkpoint(preset: Preset, tag: str, *, accept_license: bool) -> Checkpoint:
    if tag not in preset.weights:
        raise InvalidArgumentError(
            f"{refuse_tag(preset, tag)} There is no such file, either; weights=None starts from random weights."
        )
    checkpoint = preset.weights[tag]
    if checkpoint.needs_acceptance and not accept_license:
        raise InvalidArgumentError(
            f"The weights {tag!r} of {preset.name!r} are under the {checkpoint.license}, which restricts their use. Read it at "
            f"{preset.paper} and {checkpoint.url}, then pass accept_license=True."
        )
    return checkpoint


def _locate(checkpoint: Checkpoint, config: ViTConfig, *, offline: bool | None) -> Path:
    """Returns the path of a preset's weights: a preset directory in the package, or a file in the cache."""
    if checkpoint.directory is not None:
        read_directory(checkpoint.directory).check_weights()
        return checkpoint.directory
    return _download(checkpoint, str(checkpoint.url), config, offline=offline)


def _download(checkpoint: Checkpoint, url: str, config: ViTConfig, *, offline: bool | None) -> Path:
    bar: keras.utils.Progbar | None = None

    def show_progress(done: int, total: int | None) -> None:
        nonlocal bar
        bar = bar or keras.utils.Progbar(total, unit_name="byte")
        bar.update(done)

    # Twice the size in float32: some checkpoints hold a second tower, or larger positions or patches.
    max_bytes = 2 * checkpoint_bytes(config, checkpoint) + 64 * 2**20
    return fetch(url, sha256=checkpoint.sha256, max_bytes=max_bytes, progress=show_progress, offline=offline)
