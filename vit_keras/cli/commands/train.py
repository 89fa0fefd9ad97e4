"""`vit-keras train`."""

from typing import Annotated

import typer

from vit_keras.cli.backend import start_backend
from vit_keras.cli.options import (
    BatchSize,
    Debug,
    Epochs,
    ForceResume,
    Json,
    Limit,
    Precision,
    Resume,
    RunDir,
    Seed,
    typed_options,
)


def train_command(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Option(help="emoji (default), a data set's name, or a folder of class folders.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A preset's name; by default one that fits the data.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe for random initial weights; by default the preset's.")
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    limit: Limit = None,
    seed: Seed = None,
    precision: Precision = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    force_resume: ForceResume = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a Vision Transformer from scratch."""
    start_backend(debug=debug)
    from vit_keras.cli.output import progress_console
    from vit_keras.cli.training_run import merge_recorded, print_result, resumable
    from vit_keras.training.preset_runs import TrainingOptions, train_preset

    with resumable("train"):
        result = train_preset(
            TrainingOptions(**merge_recorded(typed_options(context), TrainingOptions, run_dir, resume=resume)),
            run_dir=run_dir,
            resume=resume,
            force_resume=force_resume,
            console=progress_console(as_json=as_json),
        )
    print_result(result, as_json=as_json)
