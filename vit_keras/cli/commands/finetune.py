"""`vit-keras finetune`."""

from typing import Annotated

import typer

from vit_keras.cli.backend import start_backend
from vit_keras.cli.options import (
    AcceptLicense,
    BatchSize,
    Debug,
    Epochs,
    ForceResume,
    Json,
    Limit,
    Offline,
    Precision,
    Resume,
    RunDir,
    Seed,
    parse_fields,
    typed_options,
)
from vit_keras.errors import InvalidArgumentError


def finetune_command(
    context: typer.Context,
    preset: Annotated[
        str | None, typer.Argument(metavar="PRESET", help="A preset's name, or a preset directory.")
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="A folder of class folders, or a data set's name.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="A tag of the preset's checkpoints, or the path of a checkpoint.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="A recipe of `vit-keras recipes`; auto (default) chooses by the images per class."),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    limit: Limit = None,
    seed: Seed = None,
    precision: Precision = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="A field of the recipe, such as learning_rate=3e-4.",
            callback=parse_fields,
        ),
    ] = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    force_resume: ForceResume = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard logs, too.")] = False,
    accept_license: AcceptLicense = False,
    offline: Offline = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fine-tune a preset on your images; each default is chosen for them and printed with its reason."""
    start_backend(debug=debug)
    from vit_keras.cli.output import progress_console
    from vit_keras.cli.training_run import merge_recorded, print_result, resumable
    from vit_keras.training.preset_runs import FinetuningOptions, finetune_preset

    options = merge_recorded(typed_options(context), FinetuningOptions, run_dir, resume=resume)
    missing = [name.upper() for name in ("preset", "data") if name not in options]
    if missing:
        raise InvalidArgumentError(
            f"{' and '.join(missing)} missing: vit-keras finetune PRESET DATA, or --resume --run-dir RUN."
        )
    with resumable("finetune"):
        result = finetune_preset(
            FinetuningOptions(**options),
            run_dir=run_dir,
            resume=resume,
            force_resume=force_resume,
            tensorboard=tensorboard,
            offline=offline or None,
            console=progress_console(as_json=as_json),
        )
    print_result(result, as_json=as_json)
