"""`vit-keras evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_source
from vit_keras.cli.devices import find_devices
from vit_keras.cli.help import DATA, MODEL, OUTPUT
from vit_keras.cli.output import out, print_json, printable, progress_console
from vit_keras.cli.replacing import replace_earlier
from vit_keras.distributed.cluster import is_chief
from vit_keras.errors import InvalidArgumentError
from vit_keras.zoo.find_model import find_model


def evaluate_command(
    context: Context,
    model: options.Model,
    data: Annotated[
        str | None,
        Argument(
            metavar="SOURCE",
            help="A folder, a table, or a data set's name; by default the test images of a run.",
            autocompletion=options.complete_source,
        ),
    ] = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    split: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Of SOURCE: train, validation, test, or all; by default test where SOURCE has it, else all. With --features: test or validation.",
            rich_help_panel=DATA,
        ),
    ] = None,
    features: Annotated[
        bool,
        Option(
            "--features",
            help="Measure the features instead of the head: nearest neighbors, linear probe and rank, compared with random weights.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    batch_size: Annotated[int, Option(metavar="N", help="Images per step.", rich_help_panel=OUTPUT)] = 256,
    out_file: Annotated[
        Path | None,
        Option(
            "--out",
            metavar="FILE",
            help="Table of all images to write: .csv, .jsonl or .parquet.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    devices: options.NumDevices = None,
    distribution: options.Distribution = None,
    coordinator: options.Coordinator = None,
    num_processes: options.NumProcesses = None,
    process_id: options.ProcessId = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on labeled images, or compute a finished run's test accuracy again.

    Examples:
        vit-keras evaluate runs/photos-1
        vit-keras evaluate runs/photos-1 other_photos/ --split all --out predictions.csv
        vit-keras evaluate --features runs/pretrained photos/
    """
    from vit_keras.evaluation.row_files import check_new_file

    if out_file is not None and not (overwrite and out_file.is_file()):
        check_new_file(out_file)
    if data is None and (out_file is not None or split is not None):
        raise InvalidArgumentError("--split and --out are for SOURCE: vit-keras evaluate MODEL SOURCE.")
    if features and (data is None or out_file is not None):
        raise InvalidArgumentError(
            "--features needs SOURCE, and has no --out: vit-keras evaluate --features MODEL SOURCE."
        )
    is_alone = features or data is None  # each process does the same
    check_all(lambda: find_model(model), lambda: check_source(data))
    shared = find_devices(
        devices, distribution, coordinator=coordinator, num_processes=num_processes, process_id=process_id
    )
    start_backend(debug=debug, joins=shared["distribution"] != "none" and not is_alone)
    announce(f"evaluating {model}")
    if features:
        _measure_features(model, data, context.params)
        return
    if data is not None:
        from vit_keras.evaluation.evaluate import evaluate

        with replace_earlier(out_file, overwrite=overwrite and is_chief()):
            evaluation = evaluate(
                model, data, split=split, batch_size=batch_size, out=out_file, **options.loading_options(context.params), **shared
            )  # fmt: skip
        if not is_chief():
            return
        if as_json:
            print_json(evaluation.to_dict())
        else:
            out.print(printable(str(evaluation)))
            if out_file is not None:
                out.print(printable(f"predictions  {out_file}"))
        return
    _measure_run(model, as_json=as_json)


def _measure_run(run: str, *, as_json: bool) -> None:
    """Shows the test accuracy of a finished run, computed again."""
    from vit_keras.training.runs.repeating import evaluate_run

    result = evaluate_run(run)
    if as_json:
        print_json(result)
        return
    metric = next(iter(result))
    same = result[metric] == result["recorded"]
    note = "the same" if same else "differs: another backend, version or processor?"
    kind = "7.4f" if metric.endswith("_r2") else "7.2%"
    out.print(f"{metric.replace('_', ' '):19} {result[metric]:{kind}}")
    out.print(f"{'recorded':19} {result['recorded']:{kind}}   {note}")


def _measure_features(model: str, data: str | None, values: Mapping[str, Any]) -> None:
    from vit_keras.data import load
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.pretraining.evaluate_features import evaluate_features
    from vit_keras.zoo.load_model import open_model

    opened = open_model(model)
    with file_progress(progress_console(as_json=True, quiet=values["quiet"]), doing="features") as on_progress:
        loaded = load(data, preprocessing=opened.preprocessing, **options.loading_options(values))
        found = evaluate_features(
            opened.model, loaded, split=values["split"], batch_size=values["batch_size"], on_progress=on_progress
        )
    if values["as_json"]:
        print_json(found.to_dict())
    else:
        out.print(printable(str(found)))
