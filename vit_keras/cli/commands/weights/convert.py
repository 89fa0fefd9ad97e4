"""`vit-keras convert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.help import MODEL, OUTPUT
from vit_keras.cli.options import AcceptLicense, Debug, Offline, Overwrite, Quiet, complete_preset
from vit_keras.cli.output import out, printable
from vit_keras.cli.replacing import replace_earlier
from vit_keras.data.images.signatures import USUAL_SUFFIXES
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.presets import load_preset
from vit_keras.zoo.find_model import find_model

if TYPE_CHECKING:
    import keras

    from vit_keras.data import Preprocessing

TARGETS = ("preset", "timm", "huggingface", "safetensors", "keras")


def convert_command(
    checkpoint: Annotated[str, Argument(metavar="IN", help="A preset directory, a checkpoint file, or NAME:TAG.")],
    target: Annotated[Path, Argument(metavar="OUT", help="File or directory to write.")],
    to: Annotated[
        str, Option(metavar="FORMAT", help="preset, timm, huggingface, safetensors or keras.", rich_help_panel=OUTPUT)
    ] = "preset",
    preset: Annotated[
        str | None,
        Option(
            metavar="PRESET",
            help="The architecture of a checkpoint file: a preset's name.",
            autocompletion=complete_preset,
            rich_help_panel=MODEL,
        ),
    ] = None,
    source: Annotated[
        str,
        Option(
            metavar="LIBRARY",
            help="Naming of the weights: timm, huggingface, google, meta, microsoft, torchvision, keras_hub, lucidrains, jeonsworld, mmpretrain, vit_keras, or auto.",
            rich_help_panel=MODEL,
        ),
    ] = "auto",
    prefix: Annotated[
        str | None,
        Option(
            metavar="PREFIX",
            help="What stands in front of the names of the weights, where a file holds several models.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print which weight is read from where, and stop.", rich_help_panel=OUTPUT)
    ] = False,
    accept_license: AcceptLicense = False,
    offline: Offline = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a checkpoint of one library to the format of another.

    Examples:
        vit-keras convert model.safetensors mine --preset vit_tiny_patch16_224 --dry-run
        vit-keras convert model.safetensors mine --preset vit_tiny_patch16_224
        vit-keras convert runs/photos-1 for_timm --to timm
    """
    if to not in TARGETS:
        raise InvalidArgumentError(f"--to must be one of {', '.join(TARGETS)}, got {to!r}.")
    if to == "keras" and target.suffix != ".keras":
        raise InvalidArgumentError(f"{target}: the name of a Keras file must end in .keras.")
    if target.exists() and not overwrite:
        raise StorageError(f"{target} exists, and nothing is overwritten: choose another name, or add --overwrite.")
    found = find_model(checkpoint)
    if (
        found.path is not None
        and overwrite
        and target.exists()
        and target.resolve() in (found.path, *found.path.parents)
    ):
        raise InvalidArgumentError(f"{target} holds the checkpoint to convert: give another name to write to.")
    if preset is not None:
        load_preset(preset)  # refuses an unknown name
    start_backend(debug=debug)
    from vit_keras.exporting.checkpoints import write_checkpoint

    if dry_run:
        out.print(_plan(found.path, preset=preset, source=source, prefix=prefix))
        return
    announce(f"reading {checkpoint}")
    model, class_names = load_checkpoint(
        checkpoint, preset=preset, source=source, prefix=prefix, accept_license=accept_license, offline=offline
    )
    with replace_earlier(target, overwrite=overwrite):
        write_checkpoint(model, target, to=to, class_names=class_names, preprocessing=_load_preprocessing(checkpoint))
    out.print(printable(f"wrote {target}"))


def load_checkpoint(
    checkpoint: str,
    *,
    preset: str | None = None,
    source: str = "auto",
    prefix: str | None = None,
    accept_license: bool = False,
    offline: bool = False,
) -> "tuple[keras.Model, tuple[str, ...] | None]":
    """Returns a checkpoint's model, and its class names where they are known."""
    from vit_keras.zoo.from_preset import from_preset
    from vit_keras.zoo.preset_directory import load_class_names

    found = find_model(checkpoint)
    if found.path is None:
        if found.tag is None:
            raise InvalidArgumentError(f"{checkpoint} is a preset without weights: give NAME:TAG.")
        model = from_preset(checkpoint, accept_license=accept_license, offline=offline or None)
        return model, model.class_names
    names = load_class_names(found.path) if _has_config(found.path) else None
    if preset is not None:
        return from_preset(preset, weights=found.path, source=source, prefix=prefix), names
    if names is not None:
        return from_preset(found.path), names
    if found.path.suffix.lower() in USUAL_SUFFIXES:
        raise InvalidArgumentError(f"{checkpoint} is an image: what is converted is a checkpoint, a model's weights.")
    raise InvalidArgumentError(f"{checkpoint} has no config.json: give its architecture with --preset NAME.")


def _plan(path: Path | None, *, preset: str | None, source: str, prefix: str | None) -> str:
    from vit_keras.models.vit import weight_shapes
    from vit_keras.weights import open_tensors, plan
    from vit_keras.weights.settings.apply import apply_settings
    from vit_keras.weights.settings.read import read_settings

    if path is None:
        raise InvalidArgumentError("--dry-run needs a file or a directory, not a preset's name.")
    if preset is None and not _has_config(path):
        raise InvalidArgumentError("--dry-run compares a checkpoint with a preset: give --preset NAME.")
    settings = read_settings(path, source=source, prefix=prefix)
    config = settings.config() if preset is None else apply_settings(load_preset(preset).config, settings)
    shapes = weight_shapes(config, num_classes=settings.num_classes)
    with open_tensors(path) as file:
        return plan(shapes, config, file, source=source, prefix=prefix, stated=settings.stated).describe(each=True)


def _has_config(path: Path) -> bool:
    return (path / "config.json").is_file()


def _load_preprocessing(checkpoint: str) -> "Preprocessing | None":
    """Returns the preprocessing saved with a directory or a preset's weights; None for a checkpoint file."""
    from vit_keras.data import preset_preprocessing
    from vit_keras.zoo.preset_directory import load_preprocessing

    found = find_model(checkpoint)
    if found.preset is not None:
        return preset_preprocessing(found.preset, weights=found.tag)
    return load_preprocessing(found.path) if found.path is not None and _has_config(found.path) else None
