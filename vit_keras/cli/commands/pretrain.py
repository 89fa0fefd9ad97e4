"""`vit-keras pretrain`."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_numbers, check_precision, check_run_dir, check_source
from vit_keras.cli.devices import find_devices
from vit_keras.cli.help import MODEL, TRAINING
from vit_keras.cli.output import out, print_json, printable, progress_console
from vit_keras.cli.replacing import replace_earlier
from vit_keras.cli.wording import name_program
from vit_keras.distributed.cluster import is_chief
from vit_keras.errors import InvalidArgumentError
from vit_keras.pretraining.methods import METHODS, find_method
from vit_keras.zoo.find_model import find_model

if TYPE_CHECKING:
    from vit_keras.pretraining.session import PretrainingResult


def pretrain_command(
    context: Context,
    model: Annotated[
        str | None,
        Argument(
            metavar="MODEL",
            help="A preset's NAME for random weights; NAME:TAG, a run or a preset directory to go on from its weights.",
            autocompletion=options.complete_preset,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        Argument(
            metavar="SOURCE",
            help="Folders of images at any depth, or a table or text file of paths, or a data set's name (emoji, cifar10, tfds:NAME).",
            autocompletion=options.complete_source,
        ),
    ] = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    method: Annotated[
        str | None,
        Option(
            metavar="NAME", help=f"Pre-training method: {', '.join(METHODS)}; mae by default.", rich_help_panel=TRAINING
        ),
    ] = None,
    weights: Annotated[
        str | None,
        Option(
            metavar="TAG",
            help="A tag of the preset's checkpoints, or the path of a checkpoint, to go on from.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        Option(
            metavar="MODEL",
            help="Of methods that learn from one: NAME:TAG, a run or preset directory, or a .keras file.",
            autocompletion=options.complete_preset,
            rich_help_panel=MODEL,
        ),
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    limit: Annotated[
        int | None, Option(metavar="N", help="Maximum number of training images.", rich_help_panel=TRAINING)
    ] = None,
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
    """Pre-train a model on images without labels; fine-tune it later on the few that have some.

    Examples:
        vit-keras pretrain vit_nano_conv8_96 photos/ more_photos/
        vit-keras pretrain vit_small_patch16_224:augreg_in21k photos/ --epochs 100 --run-dir runs/mae
        vit-keras pretrain --resume --run-dir runs/mae
    """
    check_all(
        lambda: check_run_dir(run_dir, resume=resume, overwrite=overwrite),
        lambda: find_model(model) if model else None,
        lambda: _check_sources(data),
        lambda: find_method(method) if method else None,
        lambda: find_model(teacher) if teacher else None,
        lambda: check_numbers(seed=seed, epochs=epochs, batch_size=batch_size, limit=limit),
        lambda: check_precision(precision),
    )
    if not resume:
        _check_given(model=model, data=data)
    shared = find_devices(
        devices, distribution, coordinator=coordinator, num_processes=num_processes, process_id=process_id
    )
    start_backend(debug=debug, trains=True, joins=shared["distribution"] != "none")
    from vit_keras.cli.training_run import merge_recorded, resumable
    from vit_keras.pretraining.pretrain import PretrainingOptions, pretrain

    typed = {name: value for name, value in options.typed_options(context).items() if value != []}
    values = merge_recorded(typed, "pretrain", run_dir, resume=resume, kind=PretrainingOptions)
    _check_given(model=values.get("model"), data=values.get("data"))
    images = values.pop("data")
    images = images[0] if isinstance(images, list | tuple) and len(images) == 1 else images
    announce(f"loading {values['model']}, reading {images if isinstance(images, str) else ', '.join(images)}")
    with replace_earlier(run_dir, overwrite=overwrite and is_chief()), resumable("pretrain"):
        result = pretrain(
            **values, images=images, run_dir=run_dir, resume=resume, force_resume=force_resume, tensorboard=tensorboard,
            offline=offline or None, console=progress_console(as_json=as_json, quiet=quiet),
        )  # fmt: skip
    _print_result(result, as_json=as_json)


def _print_result(result: "PretrainingResult", *, as_json: bool) -> None:
    """Prints the measures of a pre-training run, where its report is, and the next commands."""
    from vit_keras.pretraining.advice import next_commands, warn_if_short
    from vit_keras.training.runs.facts import count_noun

    if not is_chief():
        return
    record, run = result.record, result.run_directory
    results, seconds, epochs = record["results"], record["seconds"], len(result.history)
    warning = warn_if_short(record, epochs=epochs)
    if as_json:
        print_json({"run": str(run), **results, "seconds": seconds, "epochs": epochs, "warning": warning})
        return
    out.print(
        f"held-out loss      {results['val_loss']:7.4f}   after {count_noun(epochs, 'epoch')} ({seconds['total']:.0f} s in all)"
    )
    if "feature_rank" in results:
        before = results["feature_rank_before"]
        out.print(
            f"effective rank     {results['feature_rank']:7.1f}   of the features; {before:.1f} before pre-training"
        )
    if "knn_accuracy" in results:
        before = results["knn_accuracy_before"]
        out.print(
            f"kNN accuracy       {results['knn_accuracy']:7.2%}   of the features; {before:.2%} before pre-training"
        )
    out.print(f"report             {run}/report.html")
    for word, command in zip(("next", "or"), next_commands(run), strict=False):
        out.print(name_program(f"{word:18} {command}"))
    if warning is not None:
        out.print(printable(f"note               {name_program(warning)}"))


def _check_sources(sources: list[str] | None) -> None:
    """Raises `DataError` where a path does not exist, or a name is unknown."""
    for source in sources or ():
        check_source(source)


def _check_given(*, model: str | None, data: Any) -> None:
    missing = [word for word, value in (("MODEL", model), ("SOURCE", data)) if not value]
    if missing:
        raise InvalidArgumentError(
            f"{' and '.join(missing)} missing: vit-keras pretrain MODEL SOURCE, or --resume --run-dir RUN."
        )
