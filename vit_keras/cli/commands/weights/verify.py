"""`vit-keras verify`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.commands.weights.convert import load_checkpoint
from vit_keras.cli.help import MODEL
from vit_keras.cli.options import AcceptLicense, Debug, Json, Offline, Quiet
from vit_keras.cli.output import out, print_json
from vit_keras.errors import InvalidArgumentError, StorageError, WeightMismatchError

if TYPE_CHECKING:
    import keras

    from vit_keras.weights.verify import Reference


def verify_command(
    reference: Annotated[
        Path,
        Argument(
            metavar="REFERENCE",
            help="A directory of transformers or timm, or a file of outputs that another library computed.",
        ),
    ],
    preset: Annotated[
        str | None,
        Option(
            metavar="MODEL",
            help="NAME:TAG or a preset directory; by default the reference's own weights.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    accept_license: AcceptLicense = False,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare a model block by block with the outputs of another library.

    Examples:
        vit-keras verify saved_by_transformers/
        vit-keras verify outputs.safetensors --preset vit_tiny_patch16_224:augreg_in21k
    """
    if not reference.exists():
        raise StorageError(f"{reference}: there is no such file or directory.")
    start_backend(debug=debug)
    from vit_keras.weights.verify import TOLERANCE, compare

    announce(f"computing the outputs of {reference} with both libraries")
    model, expected = _load_both(reference, preset=preset, accept_license=accept_license, offline=offline)
    differences = list(compare(model, expected))
    if as_json:
        print_json({"made_by": expected.made_by, "differences": [asdict(difference) for difference in differences]})
    else:
        for difference in differences:
            out.print(f"{difference.output:10} {difference.largest:.1e}  {'equal' if difference.within else 'DIFFERS'}")
    failing = next((difference for difference in differences if not difference.within), None)
    if failing is not None:
        raise WeightMismatchError(
            f"{failing.output} is the first output that differs from {expected.made_by}, by {failing.largest:.2e}; the absolute and "
            f"relative tolerance is {TOLERANCE}."
        )


def _load_both(
    reference: Path, *, preset: str | None, accept_license: bool, offline: bool
) -> "tuple[keras.Model, Reference]":
    from vit_keras.models.wiring import read_model
    from vit_keras.weights.peers import compute_reference
    from vit_keras.weights.verify import read_reference
    from vit_keras.zoo.from_preset import from_preset

    if reference.is_dir():
        model = from_preset(reference)
        return model, compute_reference(reference, read_model(model).config)
    expected = read_reference(reference)
    if preset is not None:
        return load_checkpoint(preset, accept_license=accept_license, offline=offline)[0], expected
    if expected.weights:
        return expected.build(), expected
    raise InvalidArgumentError(
        f"{reference} holds no weights: give the preset that computed it with --preset NAME:TAG."
    )
