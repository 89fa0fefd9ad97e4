"""`vit-keras train`."""

from typing import Annotated

from typer import Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import (
    check_all,
    check_numbers,
    check_precision,
    check_recipe,
    check_run_dir,
    check_source,
)
from vit_keras.cli.devices import find_devices
from vit_keras.cli.help import MODEL, TRAINING
from vit_keras.cli.replacing import replace_earlier
from vit_keras.distributed.cluster import is_chief
from vit_keras.zoo.find_model import find_model


def train_command(
    context: Context,
    data: options.DataSource = None,
    task: options.Task = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    model: Annotated[
        str | None,
        Option(
            "--preset",
            "--model",
            metavar="MODEL",
            help="A preset's name, or a run's or preset's directory; by default one that fits the data.",
            autocompletion=options.complete_preset,
            rich_help_panel=MODEL,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        Option(
            metavar="RECIPE",
            help="A recipe for random initial weights; by default the preset's.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    limit: options.Limit = None,
    folds: options.Folds = None,
    split: options.Split = None,
    seed: options.Seed = None,
    precision: options.Precision = None,
    changes: options.Changes = None,
    resume: options.Resume = False,
    force_resume: options.ForceResume = False,
    devices: options.NumDevices = None,
    distribution: options.Distribution = None,
    coordinator: options.Coordinator = None,
    num_processes: options.NumProcesses = None,
    process_id: options.ProcessId = None,
    config: options.Config = None,
    run_dir: options.RunDir = None,
    overwrite: options.Overwrite = False,
    tensorboard: options.TensorBoard = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train a Vision Transformer from scratch; without SOURCE on the embedded emoji set.

    Examples:
        vit-keras train
        vit-keras train photos/ --epochs 60 --run-dir runs/photos
        vit-keras train --resume --run-dir runs/photos
        vit-keras train --config runs/photos/run.toml --seed 1
    """
    check_all(
        lambda: check_run_dir(run_dir, resume=resume, overwrite=overwrite),
        lambda: check_source(data),
        lambda: find_model(model) if model else None,
        lambda: check_recipe(recipe),
        lambda: check_numbers(seed=seed, epochs=epochs, batch_size=batch_size, limit=limit),
        lambda: check_precision(precision),
    )
    shared = find_devices(
        devices, distribution, coordinator=coordinator, num_processes=num_processes, process_id=process_id
    )
    start_backend(debug=debug, trains=True, joins=shared["distribution"] != "none")
    from vit_keras.cli.output import progress_console
    from vit_keras.cli.training_run import merge_recorded, print_result, resumable
    from vit_keras.training.trainer import train

    announce(f"reading {data or 'the emoji set'}")
    with replace_earlier(run_dir, overwrite=overwrite and is_chief()), resumable("train"):
        values = merge_recorded(options.typed_options(context), "train", run_dir, resume=resume)
        result = train(
            **values, **shared, run_dir=run_dir, resume=resume, force_resume=force_resume, tensorboard=tensorboard,
            console=progress_console(as_json=as_json, quiet=quiet),
        )  # fmt: skip
    print_result(result, as_json=as_json)
