"""`vit-keras features`."""

from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_image_paths
from vit_keras.cli.help import OUTPUT
from vit_keras.cli.options import Debug, Images, Json, Model, Overwrite, Quiet
from vit_keras.cli.output import SOME_FAILED, choose_output, out, print_json, printable, progress_console
from vit_keras.cli.replacing import replace_earlier
from vit_keras.zoo.find_model import find_model

_FILE = Path("features.npz")


def features_command(
    model: Model,
    images: Images,
    out_file: Annotated[
        Path | None,
        Option(
            "--out",
            metavar="FILE",
            help="File to write, .npz or .parquet; by default features.npz, features-2.npz, ...",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    batch_size: Annotated[int, Option(metavar="N", help="Images per step.", rich_help_panel=OUTPUT)] = 64,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the features of images, which a model's head gets, to a file; for search, clustering or a classifier of your own.

    Examples:
        vit-keras features runs/photos-1 photos/ --out photos.npz
        vit-keras features vit_small_patch16_224:dino photos/ --out photos.parquet
    """
    from vit_keras.evaluation.row_files import PARQUET, check_new_file

    path = choose_output(out_file, _FILE, option="--out", overwrite=overwrite)
    if not path.exists():
        check_new_file(path, (".npz", PARQUET))
    check_all(lambda: find_model(model), lambda: check_image_paths(images))
    start_backend(debug=debug)
    announce(f"computing features with {model}")
    from vit_keras.cli.image_arguments import read_images
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.evaluation.feature_files import save_features

    console = progress_console(as_json=True, quiet=quiet)
    with file_progress(console, doing="features") as on_progress, replace_earlier(path, overwrite=overwrite):
        saved = save_features(model, read_images(images), out=path, batch_size=batch_size, on_progress=on_progress)
    if as_json:
        print_json({"file": str(saved.path), "images": saved.count, "failed": saved.failed, "dim": saved.feature_dim})
    else:
        failed = f"; {saved.failed:,} could not be read, see errors" if saved.failed else ""
        out.print(printable(f"features     {saved.path} ({saved.count:,} images of {saved.feature_dim}{failed})"))
    if saved.failed:
        raise Exit(SOME_FAILED)
