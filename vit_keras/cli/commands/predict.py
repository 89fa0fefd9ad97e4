"""`vit-keras predict`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from typer import Exit, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_image_paths
from vit_keras.cli.devices import find_devices
from vit_keras.cli.help import OUTPUT
from vit_keras.cli.options import (
    Coordinator,
    Debug,
    Distribution,
    Images,
    Json,
    Model,
    NumDevices,
    NumProcesses,
    Overwrite,
    ProcessId,
    Quiet,
)
from vit_keras.cli.output import SOME_FAILED, err, out, print_json, printable, progress_console
from vit_keras.cli.replacing import replace_earlier
from vit_keras.distributed.cluster import is_chief
from vit_keras.zoo.find_model import find_model

if TYPE_CHECKING:
    from vit_keras.evaluation.predict import PredictionStream
    from vit_keras.evaluation.predictions import Prediction, Score


def predict_command(
    model: Model,
    images: Images,
    top: Annotated[int, Option(metavar="N", help="Number of classes per image.", rich_help_panel=OUTPUT)] = 5,
    all_classes: Annotated[
        bool, Option("--all", help="The probabilities of all classes.", rich_help_panel=OUTPUT)
    ] = False,
    out_file: Annotated[
        Path | None,
        Option("--out", metavar="FILE", help="Table to write: .csv, .jsonl or .parquet.", rich_help_panel=OUTPUT),
    ] = None,
    batch_size: Annotated[int, Option(metavar="N", help="Images per step.", rich_help_panel=OUTPUT)] = 64,
    devices: NumDevices = None,
    distribution: Distribution = None,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Classify images: the most probable classes of each, with probabilities; or the numbers of a regression.

    Where folders, or the labels of a list, name classes of the model, the accuracy on these images is printed, too.

    Examples:
        vit-keras predict runs/photos-1 cat.jpg
        vit-keras predict runs/photos-1 new_photos/ --out predictions.csv
        vit-keras predict runs/photos-1 'new_photos/**/*.jpg' --top 1 --json
    """
    from vit_keras.evaluation.row_files import check_new_file

    if out_file is not None and not (overwrite and out_file.is_file()):
        check_new_file(out_file)
    check_all(lambda: find_model(model), lambda: check_image_paths(images))
    shared = find_devices(
        devices, distribution, coordinator=coordinator, num_processes=num_processes, process_id=process_id
    )
    start_backend(debug=debug, joins=shared["distribution"] != "none")
    announce(f"classifying with {model}")
    from vit_keras.cli.image_arguments import read_images
    from vit_keras.evaluation.predict import stream_predictions
    from vit_keras.evaluation.predictions import Score

    stream = stream_predictions(
        model, read_images(images), top=None if all_classes else top, batch_size=batch_size, **shared
    )
    score, failed = Score(), 0
    if not is_chief():
        failed = sum(row.error is not None for row in stream)
    elif out_file is not None:
        with replace_earlier(out_file, overwrite=overwrite):
            failed = _save(stream, out_file, score, progress_console(as_json=True, quiet=quiet))
        note = f"; {failed:,} could not be read, see the column error" if failed else ""
        (err if as_json else out).print(printable(f"predictions  {out_file} ({len(stream):,} images{note})"))
    elif as_json:
        rows = list(stream)
        print_json([row.to_dict() for row in rows])
        failed = sum(row.error is not None for row in rows)
    else:
        for row in stream:
            score.add(row)
            failed += row.error is not None
            _print_row(row)
    if score.count and not as_json:
        out.print(str(score))
    if failed:
        raise Exit(SOME_FAILED)


def _save(stream: "PredictionStream", path: Path, score: "Score", console: Console) -> int:
    """Writes the predictions with a progress bar; returns the number of images that could not be read."""
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.evaluation.predictions import save_predictions

    done = failed = 0
    with file_progress(console, doing="classifying") as on_progress:

        def count(row: "Prediction") -> None:
            nonlocal done, failed
            done, failed = done + 1, failed + (row.error is not None)
            score.add(row)
            on_progress(done, len(stream))

        save_predictions(path, stream, stream.columns, on_row=count)
    return failed


def _print_row(row: "Prediction") -> None:
    if row.error is None:
        out.print(printable(str(row)))
    else:
        sys.stdout.flush()
        err.print(printable(f"skipped {row.error}"))
