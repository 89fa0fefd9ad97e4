"""`vit-keras train`."""

from typing import Annotated

from typer import Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import start_backend


def train_command(
    context: Context,
    data: Annotated[
        str | None, Option(help="emoji (default), a data set's name, a folder of class folders, or a table.")
    ] = None,
    model: Annotated[
        str | None,
        Option(
            "--preset",
            "--model",
            help="A preset's name, or a run's or preset's directory; by default one that fits the data.",
        ),
    ] = None,
    recipe: Annotated[str | None, Option(help="A recipe for random initial weights; by default the preset's.")] = None,
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
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train a Vision Transformer from scratch."""
    start_backend(debug=debug)
    from vit_keras.cli.output import progress_console
    from vit_keras.cli.training_run import merge_recorded, print_result, resumable
    from vit_keras.training.trainer import train

    with resumable("train"):
        values = merge_recorded(options.typed_options(context), "train", run_dir, resume=resume)
        result = train(
            **values, run_dir=run_dir, resume=resume, force_resume=force_resume, tensorboard=tensorboard,
            console=progress_console(as_json=as_json),
        )  # fmt: skip
    print_result(result, as_json=as_json)
