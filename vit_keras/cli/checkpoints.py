"""`vit-keras convert` and `vit-keras verify`."""

from dataclasses import asdict
from pathlib import Path

import keras

from vit_keras.cli.output import out, print_json
from vit_keras.config import ViTConfig
from vit_keras.data import Preprocessing, preset_preprocessing
from vit_keras.errors import InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.models.own_head import is_probabilities
from vit_keras.models.vit import weight_shapes
from vit_keras.models.wiring import read_model
from vit_keras.presets import load_preset
from vit_keras.runtime.files import atomic_file
from vit_keras.weights import open_tensors, plan, write, write_tensors
from vit_keras.weights.peers import compute_reference
from vit_keras.weights.settings.apply import apply_settings
from vit_keras.weights.settings.read import read_settings
from vit_keras.weights.verify import TOLERANCE, Reference, compare, read_reference
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_class_names, load_preprocessing
from vit_keras.zoo.save_preset import save_preset

TARGETS = ("preset", "timm", "huggingface", "safetensors", "keras")


def convert(
    checkpoint: str, target: Path, *, to: str, preset: str | None, source: str, dry_run: bool, accept_license: bool
) -> None:
    """Reads a checkpoint and writes it in another form.

    Args:
        checkpoint: A preset directory, a checkpoint file, or `NAME:TAG` of a preset.
        target: What to write; it must not exist.
        to: One of `TARGETS`.
        preset: The architecture of a checkpoint file.
        source: Whose names a checkpoint file has; "auto" goes by them.
        dry_run: Prints what would be read into what, and writes nothing.
        accept_license: Says yes to a license that restricts use.

    Raises:
        InvalidArgumentError: An argument is not legal.
        StorageError: The target exists.
    """
    if to not in TARGETS:
        raise InvalidArgumentError(f"--to {to} is none of {list(TARGETS)}.")
    if target.exists():
        raise StorageError(f"{target} exists, and nothing is overwritten: choose another name, or remove it first.")
    if dry_run:
        out.print(_plan(checkpoint, preset=preset, source=source))
        return
    model, class_names = _read(checkpoint, preset=preset, source=source, accept_license=accept_license)
    if to == "preset":
        save_preset(model, target, class_names=class_names, preprocessing=_resizing_of(checkpoint))
    elif to == "keras":
        _save_keras(model, target)
    else:
        arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
        if to == "safetensors":
            write_tensors(arrays, target)
        else:
            rule = _resizing_of(checkpoint)
            write(arrays, _config_for_others(model), target, to=to, class_names=class_names, preprocessing=rule)
    out.print(f"wrote {target}")


def _config_for_others(model: keras.Model) -> ViTConfig:
    """Returns a model's config; other libraries' models end in logits, and have no place for layers of the user's own."""
    parts = read_model(model)
    more = [layer.name for layer in parts.own_head if not is_probabilities(layer)]
    if more:
        raise InvalidArgumentError(
            f"The model has layers of your own, {more}, which other libraries' models have no place for: write a preset or a .keras file, or "
            "the model without them, as rebuild(model, num_classes=0) makes it."
        )
    return parts.config


def _resizing_of(checkpoint: str) -> Preprocessing | None:
    """Returns the rule of preprocessing that comes with a preset; None for a checkpoint file, which says none."""
    if _has_config(checkpoint):
        return load_preprocessing(checkpoint)
    name, _, tag = checkpoint.partition(":")
    return preset_preprocessing(name, weights=tag) if tag and not Path(checkpoint).exists() else None


def _plan(checkpoint: str, *, preset: str | None, source: str) -> str:
    path = Path(checkpoint)
    if not path.exists():
        raise InvalidArgumentError(f"--dry-run reads a file or a folder, and {checkpoint} is none.")
    if preset is None and not _has_config(checkpoint):
        raise InvalidArgumentError("--dry-run compares a checkpoint with a preset: give --preset NAME.")
    settings = read_settings(path, source=source)
    config = settings.config() if preset is None else apply_settings(load_preset(preset).config, settings)
    shapes = weight_shapes(config, num_classes=settings.num_classes)
    with open_tensors(path) as file:
        return plan(shapes, config, file, source=source, stated=settings.stated).describe(each=True)


def _read(
    checkpoint: str, *, preset: str | None, source: str, accept_license: bool
) -> tuple[keras.Model, tuple[str, ...] | None]:
    if Path(checkpoint).exists():
        if preset is not None:
            model = from_preset(preset, weights=checkpoint, source=source)
            return model, load_class_names(checkpoint) if _has_config(checkpoint) else None
        if _has_config(checkpoint):
            return from_preset(Path(checkpoint)), load_class_names(checkpoint)
        raise InvalidArgumentError(
            f"{checkpoint} has no config.json beside its weights: say its architecture with --preset NAME."
        )
    name, colon, tag = checkpoint.partition(":")
    if not colon:
        raise StorageError(f"{checkpoint}: there is no such file, and NAME:TAG would name a preset's weights.")
    return from_preset(name, weights=tag, accept_license=accept_license), None


def _has_config(checkpoint: str) -> bool:
    return (Path(checkpoint) / "config.json").is_file()


def _save_keras(model: keras.Model, target: Path) -> None:
    if target.suffix != ".keras":
        raise InvalidArgumentError(f"{target}: Keras wants the ending .keras.")
    with atomic_file(target) as unfinished:
        model.save(unfinished)


def verify(reference: Path, *, preset: str | None, accept_license: bool, as_json: bool) -> None:
    """Prints how far our model is from another library's, block by block.

    Args:
        reference: A reference file, or a directory of transformers or timm, whose own model is asked then.
        preset: `NAME:TAG`, or a preset directory, where the reference holds no weights of its own.
        accept_license: Says yes to a license that restricts use.
        as_json: One JSON object instead of lines.

    Raises:
        InvalidArgumentError: The reference holds no weights and no preset was given.
        WeightMismatchError: A block is further away than it may be; the first is named.
    """
    model, expected = _compared(reference, preset=preset, accept_license=accept_license)
    differences = list(compare(model, expected))
    if as_json:
        print_json({"made_by": expected.made_by, "differences": [asdict(difference) for difference in differences]})
    else:
        for difference in differences:
            out.print(f"{difference.output:10} {difference.largest:.1e}  {'equal' if difference.within else 'DIFFERS'}")
    failing = next((difference for difference in differences if not difference.within), None)
    if failing is not None:
        raise WeightMismatchError(
            f"{failing.output} is the first that differs from {expected.made_by}, by {failing.largest:.2e}; up to {TOLERANCE} "
            "and as much again relative to it is rounding."
        )


def _compared(reference: Path, *, preset: str | None, accept_license: bool) -> tuple[keras.Model, Reference]:
    """Returns our model and what another library's computed."""
    if reference.is_dir():
        model = from_preset(reference)
        return model, compute_reference(reference, read_model(model).config)
    expected = read_reference(reference)
    if preset is not None:
        return _read(preset, preset=None, source="auto", accept_license=accept_license)[0], expected
    if expected.weights:
        return expected.build(), expected
    raise InvalidArgumentError(f"{reference} holds no weights: say whose it is with --preset NAME:TAG.")
