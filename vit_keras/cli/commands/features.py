"""`vit-keras features`."""

from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from vit_keras.cli.backend import start_backend
from vit_keras.cli.options import Debug, Images, Json, Model
from vit_keras.cli.output import SOME_FAILED, err, out, print_json, printable


def features_command(
    model: Model,
    images: Images,
    out_file: Annotated[Path, Option("--out", help="File to write: .npz or .parquet; it must not exist.")] = Path(
        "features.npz"
    ),
    batch_size: Annotated[int, Option(help="Images per step.")] = 64,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the features of images, which a model's head gets, to a file; for search, clustering or a classifier of your own."""
    from vit_keras.evaluation.row_files import PARQUET, check_new_file

    check_new_file(out_file, (".npz", PARQUET))
    start_backend(debug=debug)
    from vit_keras.cli.image_arguments import read_images
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.evaluation.feature_files import save_features

    with file_progress(err, doing="features") as on_progress:
        saved = save_features(model, read_images(images), out=out_file, batch_size=batch_size, on_progress=on_progress)
    if as_json:
        print_json({"file": str(saved.path), "images": saved.count, "failed": saved.failed, "dim": saved.feature_dim})
    else:
        failed = f"; {saved.failed:,} could not be read, see errors" if saved.failed else ""
        out.print(printable(f"features     {saved.path} ({saved.count:,} images of {saved.feature_dim}{failed})"))
    if saved.failed:
        raise Exit(SOME_FAILED)
