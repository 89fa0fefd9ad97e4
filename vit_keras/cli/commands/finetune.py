"""`vit-keras finetune`."""

from typing import Annotated

from typer import Argument, Context, Option

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
from vit_keras.errors import InvalidArgumentError
from vit_keras.zoo.find_model import find_model


def finetune_command(
    context: Context,
    model: Annotated[
        str | None,
        Argument(
            metavar="MODEL",
            help="A preset's NAME or NAME:TAG, a run directory, or a preset directory.",
            autocompletion=options.complete_preset,
        ),
    ] = None,
    data: options.DataSource = None,
    task: options.Task = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    weights: Annotated[
        str | None,
        Option(
            metavar="TAG",
            help="A tag of the preset's checkpoints, or the path of a checkpoint.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    method: Annotated[
        str | None,
        Option(
            metavar="RECIPE",
            help="A recipe of `vit-keras recipes`; auto (default) chooses by the images per class.",
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
    accept_license: options.AcceptLicense = False,
    offline: options.Offline = False,
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
    """Fine-tune a model on your images; each default is chosen for them and printed with its reason.

    Examples:
        vit-keras finetune vit_small_patch16_224 photos/ --weights augreg_in21k
        vit-keras finetune mine/ photos/ --method lora --set learning_rate=3e-4
        vit-keras finetune --resume --run-dir runs/photos-1
        vit-keras finetune --config runs/photos-1/run.toml --epochs 20
    """
    check_all(
        lambda: check_run_dir(run_dir, resume=resume, overwrite=overwrite),
        lambda: find_model(model) if model else None,
        lambda: check_source(data),
        lambda: check_recipe(method),
        lambda: check_numbers(seed=seed, epochs=epochs, batch_size=batch_size, limit=limit),
        lambda: check_precision(precision),
    )
    if not resume:
        _check_given(model=model, data=data)
    shared = find_devices(
        devices, distribution, coordinator=coordinator, num_processes=num_processes, process_id=process_id
    )
    start_backend(debug=debug, trains=True, joins=shared["distribution"] != "none")
    from vit_keras.cli.output import progress_console
    from vit_keras.cli.training_run import merge_recorded, print_result, resumable
    from vit_keras.training.finetuning import finetune

    values = merge_recorded(options.typed_options(context), "finetune", run_dir, resume=resume)
    _check_given(model=values.get("model"), data=values.get("data"))
    announce(f"loading {values['model']}, reading {values['data']}")
    with replace_earlier(run_dir, overwrite=overwrite and is_chief()), resumable("finetune"):
        result = finetune(
            **values, **shared, run_dir=run_dir, resume=resume, force_resume=force_resume, tensorboard=tensorboard, offline=offline or None,
            console=progress_console(as_json=as_json, quiet=quiet),
        )  # fmt: skip
    print_result(result, as_json=as_json)


def _check_given(*, model: str | None, data: str | None) -> None:
    missing = [word for word, value in (("MODEL", model), ("SOURCE", data)) if value is None]
    if missing:
        raise InvalidArgumentError(
            f"{' and '.join(missing)} missing: vit-keras finetune MODEL SOURCE, or --resume --run-dir RUN."
        )
