"""`vit-keras finetune`."""

from typing import Annotated

from typer import Argument, Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import start_backend
from vit_keras.errors import InvalidArgumentError


def finetune_command(
    context: Context,
    model: Annotated[
        str | None,
        Argument(metavar="MODEL", help="A preset's NAME or NAME:TAG, a run directory, or a preset directory."),
    ] = None,
    data: options.DataSource = None,
    weights: Annotated[
        str | None, Option(help="A tag of the preset's checkpoints, or the path of a checkpoint.")
    ] = None,
    method: Annotated[
        str | None,
        Option(help="A recipe of `vit-keras recipes`; auto (default) chooses by the images per class."),
    ] = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    limit: options.Limit = None,
    folds: options.Folds = None,
    split: options.Split = None,
    task: options.Task = None,
    seed: options.Seed = None,
    precision: options.Precision = None,
    changes: options.Changes = None,
    run_dir: options.RunDir = None,
    resume: options.Resume = False,
    force_resume: options.ForceResume = False,
    tensorboard: options.TensorBoard = False,
    accept_license: options.AcceptLicense = False,
    offline: options.Offline = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fine-tune a model on your images; each default is chosen for them and printed with its reason."""
    start_backend(debug=debug)
    from vit_keras.cli.output import progress_console
    from vit_keras.cli.training_run import merge_recorded, print_result, resumable
    from vit_keras.training.finetuning import finetune

    values = merge_recorded(options.typed_options(context), "finetune", run_dir, resume=resume)
    missing = [name.upper() for name in ("model", "data") if name not in values]
    if missing:
        raise InvalidArgumentError(
            f"{' and '.join(missing)} missing: vit-keras finetune MODEL DATA, or --resume --run-dir RUN."
        )
    with resumable("finetune"):
        result = finetune(
            **values, run_dir=run_dir, resume=resume, force_resume=force_resume, tensorboard=tensorboard, offline=offline or None,
            console=progress_console(as_json=as_json),
        )  # fmt: skip
    print_result(result, as_json=as_json)
