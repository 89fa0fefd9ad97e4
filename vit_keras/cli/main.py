"""The commands, and how each of them ends."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from vit_keras.cli import catalogue, compiling, output
from vit_keras.errors import VitKerasError

app = typer.Typer(
    name="vit-keras",
    help="Vision Transformers for Keras: list them, train them, use them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data_app = typer.Typer(
    name="data",
    help="Look at a data set before training on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app)

# Typer carries a click of its own, and shows of its errors only the children.
UsageError: Any = typer.BadParameter.__base__
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
AcceptLicense = Annotated[bool, typer.Option("--accept-license", help="Say yes to a license that restricts use.")]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing: what is in the cache has to do.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --run-dir.")]
ForceResume = Annotated[
    bool, typer.Option("--force-resume", help="Go on under other versions, too; the last digits may differ.")
]
INTERRUPTED = 130


@app.command("list")
def list_command(
    pattern: Annotated[str, typer.Argument(help="Name with the wildcards * ? [...].")] = "*",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the presets with what they cost."""
    catalogue.show_list(pattern, as_json=as_json)


@app.command("info")
def info_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset's name.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what one preset is: numbers, source, license, weights."""
    catalogue.show_info(name, as_json=as_json)


@app.command("recipes")
def recipes_command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A recipe's name; by default all.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the ways to train and to fine-tune, or show every number of one."""
    from vit_keras.cli import recipes

    recipes.show_recipes(name, as_json=as_json)


@app.command("train")
def train_command(
    data: Annotated[
        str | None, typer.Option(help="emoji (the default), a data set's name, or a folder of class folders.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A preset's name; by default one that fits the data.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe that begins with random weights; by default the preset's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most images of each split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random; by default 0.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (the default), float32, mixed_bfloat16 or mixed_float16.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="A folder that does not exist; by default the next in runs/.")
    ] = None,
    resume: Resume = False,
    force_resume: ForceResume = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a Vision Transformer from scratch."""
    runs = load_runs(debug)

    options = {
        "data": data,
        "preset": preset,
        "recipe": recipe,
        "epochs": epochs,
        "batch_size": batch_size,
        "limit": limit,
        "seed": seed,
        "precision": precision,
    }
    given = {name: value for name, value in options.items() if value is not None}
    runs.train(given, run_dir=run_dir, resume=resume, force_resume=force_resume, as_json=as_json)


@app.command("finetune")
def finetune_command(
    preset: Annotated[
        str | None, typer.Argument(metavar="PRESET", help="A preset's name, or a preset directory.")
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="A folder of class folders, or a data set's name.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="A tag of the preset's checkpoints, or a checkpoint's path.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="A recipe, as `vit-keras recipes` lists them; auto goes by the images a class.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most images of each split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random; by default 0.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (the default), float32, mixed_bfloat16 or mixed_float16.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of the recipe, such as learning_rate=3e-4."),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="A folder that does not exist; by default the next in runs/.")
    ] = None,
    resume: Resume = False,
    force_resume: ForceResume = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's logs, too.")] = False,
    accept_license: AcceptLicense = False,
    offline: Offline = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fine-tune a preset on your images; what is not said is chosen, and printed with its reason."""
    runs = load_runs(debug)

    if offline:
        os.environ["VIT_KERAS_OFFLINE"] = "1"
    options = {
        "preset": preset,
        "data": data,
        "weights": weights,
        "method": method,
        "epochs": epochs,
        "batch_size": batch_size,
        "limit": limit,
        "seed": seed,
        "precision": precision,
        "accept_license": accept_license or None,
        "changes": output.fields_of(change) if change else None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    runs.finetune(
        given, run_dir=run_dir, resume=resume, force_resume=force_resume, tensorboard=tensorboard, as_json=as_json
    )


@app.command("tune")
def tune_command(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="A folder of class folders, or a data set's name.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="30min (the default), 2h, '40 trials' or '200 epochs' of all trials together.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="val_accuracy (the default) or val_loss; again for a Pareto front with params, macs."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs that the best trials are trained for; by default 8.")
    ] = None,
    max_params: Annotated[int | None, typer.Option(help="Most parameters of a model.")] = None,
    max_macs: Annotated[int | None, typer.Option(help="Most MACs of an image.")] = None,
    space: Annotated[
        Path | None, typer.Option(help="What is tuned: a TOML or JSON file, laid over the default.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Height and width, px; image files need it.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most images of each split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random; by default 0.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials trained side by side; by default 1.")] = None,
    role: Annotated[str | None, typer.Option(help="chief or worker of a search on several machines.")] = None,
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the chief listens.")] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="A folder that does not exist; by default the next in runs/.")
    ] = None,
    resume: Resume = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search depth, heads and the rest for the best model within a budget."""
    load_runs(debug)
    from vit_keras.cli import tune

    options = {
        "data": data,
        "budget": budget,
        "objective": objective,
        "epochs": epochs,
        "max_params": max_params,
        "max_macs": max_macs,
        "space": None if space is None else str(space),
        "image_size": image_size,
        "limit": limit,
        "seed": seed,
        "workers": workers,
    }
    given = {name: value for name, value in options.items() if value is not None}
    tune.tune(given, run_dir=run_dir, resume=resume, role=role, address=address, as_json=as_json)


@app.command("evaluate")
def evaluate_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute the test accuracy of a finished run again."""
    runs = load_runs(debug)

    runs.evaluate(run, as_json=as_json)


@app.command("predict")
def predict_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or a preset directory.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="JPEG, PNG, WebP, GIF, BMP, PPM or TIFF files of any size.")
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Name what is in images: the five likeliest classes with their probabilities."""
    runs = load_runs(debug)

    runs.predict(run, images, as_json=as_json)


@app.command("bench")
def bench_command(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="A preset's name.")],
    image_size: Annotated[int | None, typer.Option(help="Another side of the images, px.")] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Images at once; may be given several times. By default 1, 16 and 64.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto, float32, mixed_bfloat16 or mixed_float16; auto is the fastest here.")
    ] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu:0, gpu:0 and so on; by default the backend's first.")] = None,
    seconds: Annotated[float, typer.Option(help="Of each measurement, about; compiling comes on top.")] = 5.0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure how fast a preset predicts and trains on this machine, and which batch fits."""
    load_runs(debug)
    from vit_keras.cli import bench

    bench.bench(
        preset, image_size=image_size, batch_sizes=batch_size or [], precision=precision, device=device, seconds=seconds,
        as_json=as_json,
    )  # fmt: skip


@app.command("explain")
def explain_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run or preset directory, or a preset's name.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Image files, or folders of them.")],
    weights: Annotated[
        str | None, typer.Option(help="Of a preset's name: a tag of its checkpoints, or a checkpoint's path.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="rollout, attention (a block's class token), or relevance (of the likeliest class).")
    ] = "rollout",
    layer: Annotated[int, typer.Option(help="Which block's attention, from 0; -1 for the last.")] = -1,
    against: Annotated[
        str | None, typer.Option(help="A second model to draw beside the first: a directory, or a preset's name.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture to write; it must not exist.")] = Path("explained.png"),
    report: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a picture: a page to write that takes one image's forward pass apart, step by step."
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw images beside what the model looks at in them, or take one image's forward pass apart (--report)."""
    load_runs(debug)
    from vit_keras.cli import explain

    if report is not None:
        explain.report(model, images, weights=weights, page=report)
    else:
        explain.draw(
            model, images, weights=weights, against=against, method=method, layer=layer, out_file=out, as_json=as_json
        )


@app.command("convert")
def convert_command(
    checkpoint: Annotated[
        str, typer.Argument(metavar="IN", help="A preset directory, a checkpoint file, or NAME:TAG.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="What to write; it must not exist.")],
    to: Annotated[str, typer.Option(help="preset, timm, huggingface, safetensors or keras.")] = "preset",
    preset: Annotated[str | None, typer.Option(help="The architecture of a checkpoint file: a preset's name.")] = None,
    source: Annotated[
        str, typer.Option(help="timm, huggingface, google, meta or vit_keras; auto goes by the names.")
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be read into what, and stop.")] = False,
    accept_license: AcceptLicense = False,
    offline: Offline = False,
    debug: Debug = False,
) -> None:
    """Turn a checkpoint of one library into one of another."""
    load_runs(debug)
    from vit_keras.cli import checkpoints

    if offline:
        os.environ["VIT_KERAS_OFFLINE"] = "1"
    checkpoints.convert(
        checkpoint, target, to=to, preset=preset, source=source, dry_run=dry_run, accept_license=accept_license
    )


@app.command("verify")
def verify_command(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="REFERENCE", help="A directory of transformers or timm, or a file of what a library computed."
        ),
    ],
    preset: Annotated[
        str | None, typer.Option(help="NAME:TAG or a preset directory; by default the reference's own.")
    ] = None,
    accept_license: AcceptLicense = False,
    offline: Offline = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare a model block by block with what another library computed."""
    load_runs(debug)
    from vit_keras.cli import checkpoints

    if offline:
        os.environ["VIT_KERAS_OFFLINE"] = "1"
    checkpoints.verify(reference, preset=preset, accept_license=accept_license, as_json=as_json)


@data_app.command("check")
def data_check_command(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder of class folders, or a CSV of paths and labels.")
    ],
    report: Annotated[
        Path | None, typer.Option(help="Write a page to look at, report.html; it must not exist.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse files left out, conflicting labels and leaks, however few.")
    ] = False,
    max_error_rate: Annotated[float, typer.Option(help="Largest fraction of the files that may be left out.")] = 0.01,
    min_side: Annotated[int, typer.Option(help="Shortest side that is an image, px.")] = 8,
    max_aspect: Annotated[float, typer.Option(help="Largest ratio of an image's sides.")] = 20.0,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow symbolic links.")] = False,
    drop_empty_classes: Annotated[
        bool, typer.Option("--drop-empty-classes", help="Leave out class folders without images.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check every image: damage, duplicates, leaks between splits, labels that conflict, balance, sizes."""
    from vit_keras.cli import data
    from vit_keras.data.images.read_options import ReadOptions

    reading = ReadOptions(
        max_error_rate=max_error_rate,
        min_side=min_side,
        max_aspect=max_aspect,
        follow_links=follow_links,
        drop_empty_classes=drop_empty_classes,
    )
    data.check(source, reading, report=report, strict=strict, as_json=as_json)


@data_app.command("show")
def data_show_command(
    source: Annotated[str, typer.Argument(metavar="DATA", help="emoji, a data set's name, a folder, or a CSV.")],
    augment: Annotated[str, typer.Option(help="none, moved, light, medium, strong or 3-augment.")] = "medium",
    image_size: Annotated[int, typer.Option(help="Height and width, px.")] = 224,
    out: Annotated[Path, typer.Option(help="The picture to write; it must not exist.")] = Path("augmented.png"),
    seed: Annotated[int, typer.Option(help="Decides which images, and everything drawn.")] = 0,
    debug: Debug = False,
) -> None:
    """Draw training images beside what augmentation makes of them."""
    load_runs(debug)
    from vit_keras.cli import data

    data.show(source, augment=augment, image_size=image_size, out_file=out, seed=seed)


def load_runs(debug: bool) -> ModuleType:
    """Returns the commands that need Keras; what the backend writes to stderr while it starts is for --debug only.

    Args:
        debug: Lets the backend speak.
    """
    compiling.keep_compiled()
    with nullcontext() if debug else output.quiet_stderr():
        from vit_keras.cli import runs

        runs.start_backend()
    return runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 usage, 3 data, 4 model file, 6 storage, 75 and 130 interrupted, 1 a bug.

    Args:
        arguments: What was typed; by default the process's own.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault(
        "TF_CPP_MIN_LOG_LEVEL", "2"
    )  # TensorFlow's start-up notes are not for users of a command line
    try:
        code = app(typed, standalone_mode=False)
        if code == INTERRUPTED:  # typer's own answer to Ctrl-C
            raise KeyboardInterrupt
    except VitKerasError as error:
        output.complain(str(error), traceback="--debug" in typed)
        code = error.exit_code
    except UsageError as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        output.complain("Interrupted.")
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone
        code = 0
    except MemoryError as error:
        output.complain(
            f"Out of memory ({error}). Use a smaller --batch-size, --limit or preset.", traceback="--debug" in typed
        )
        code = 7
    except Exception as error:
        output.complain(
            f"This is a bug in vit-keras: {type(error).__name__}: {error}. Run it again with --debug and report what it prints.",
            traceback="--debug" in typed,
        )
        code = 1
    sys.exit(code or 0)
