"""`vit-keras features`."""

from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all
from vit_keras.cli.help import OUTPUT
from vit_keras.cli.options import Debug, Images, Json, Model, Quiet
from vit_keras.cli.output import SOME_FAILED, out, print_json, printable, progress_console
from vit_keras.zoo.find_model import find_model


def features_command(
    model: Model,
    images: Images,
    out_file: Annotated[
        Path,
        Option(
            "--out", metavar="FILE", help="File to write: .npz or .parquet; it must not exist.", rich_help_panel=OUTPUT
        ),
    ] = Path("features.npz"),
    batch_size: Annotated[int, Option(metavar="N", help="Images per step.", rich_help_panel=OUTPUT)] = 64,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the features of images, which a model's head gets, to a file; for search, clustering or a classifier of your own.

    Examples:
        vit-keras features runs/photos-1 new_photos/ --out features.npz
        vit-keras features vit_small_patch14_dinov2:lvd142m 'photos/**/*.jpg' --out features.parquet
    """
    from vit_keras.evaluation.row_files import PARQUET, check_new_file

    check_all(lambda: find_model(model), lambda: check_new_file(out_file, (".npz", PARQUET)))
    start_backend(debug=debug)
    announce(f"computing features with {model}")
    from vit_keras.cli.image_arguments import read_images
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.evaluation.feature_files import save_features

    with file_progress(progress_console(as_json=True, quiet=quiet), doing="features") as on_progress:
        saved = save_features(model, read_images(images), out=out_file, batch_size=batch_size, on_progress=on_progress)
    if as_json:
        print_json({"file": str(saved.path), "images": saved.count, "failed": saved.failed, "dim": saved.feature_dim})
    else:
        failed = f"; {saved.failed:,} could not be read, see errors" if saved.failed else ""
        out.print(printable(f"features     {saved.path} ({saved.count:,} images of {saved.feature_dim}{failed})"))
    if saved.failed:
        raise Exit(SOME_FAILED)
