"""Options that several commands share, each written once, and which of them the user typed."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Context, Option

from vit_keras.cli.config_file import read_config
from vit_keras.cli.help import DATA, MODEL, OUTPUT, TRAINING
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets

SOURCES = ("emoji", "mnist", "fashion_mnist", "cifar10", "cifar100")
"""Names of data sets that shells complete."""


def complete_source(incomplete: str) -> Iterator[str]:
    """Yields names of data sets; the shell itself completes folders."""
    yield from (name for name in SOURCES if name.startswith(incomplete))


def complete_preset(incomplete: str) -> Iterator[str]:
    """Yields names of presets."""
    yield from (name for name in list_presets() if name.startswith(incomplete))


AcceptLicense = Annotated[bool, Option("--accept-license", help="Accept a restricted license.", rich_help_panel=MODEL)]
BatchSize = Annotated[int | None, Option(metavar="N", help="Images per step.", rich_help_panel=TRAINING)]
Config = Annotated[
    Path | None,
    Option(
        "--config",
        metavar="FILE",
        help="TOML file of options, such as the run.toml of an earlier run; typed options win.",
        callback=read_config,
        is_eager=True,
    ),
]
DataSource = Annotated[
    str | None,
    Argument(
        metavar="SOURCE",
        help="A folder of class folders, a CSV file of paths and labels, or a data set's name (emoji, cifar10, tfds:NAME).",
        autocompletion=complete_source,
    ),
]
Debug = Annotated[
    bool,
    Option("--debug", help="Show all that libraries log, and the traceback of an error.", rich_help_panel=OUTPUT),
]
Epochs = Annotated[int | None, Option(metavar="N", help="Training epochs.", rich_help_panel=TRAINING)]
ForceResume = Annotated[
    bool,
    Option(
        "--force-resume",
        help="Resume with other package versions, too; results may differ in the last digits.",
        rich_help_panel=TRAINING,
    ),
]
Json = Annotated[
    bool, Option("--json", help="Print one JSON value to stdout and nothing else.", rich_help_panel=OUTPUT)
]
Limit = Annotated[int | None, Option(metavar="N", help="Maximum number of images per split.", rich_help_panel=DATA)]
ModelPath = Annotated[Path, Argument(metavar="MODEL", help="A run directory, a preset directory, or a .keras file.")]
Offline = Annotated[bool, Option("--offline", help="Use only cached files; never download.", rich_help_panel=MODEL)]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace what an earlier command wrote there.", rich_help_panel=OUTPUT)
]
Precision = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="auto (default: the fastest here), float32, mixed_bfloat16 or mixed_float16.",
        rich_help_panel=TRAINING,
    ),
]
Quiet = Annotated[
    bool, Option("--quiet", "-q", help="Print results, warnings and errors, but no progress.", rich_help_panel=OUTPUT)
]
Resume = Annotated[bool, Option("--resume", help="Resume the interrupted run in --run-dir.", rich_help_panel=TRAINING)]
RunDir = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Directory to create for the run; by default the next free one in runs/.",
        rich_help_panel=OUTPUT,
    ),
]
Seed = Annotated[int | None, Option(metavar="N", help="Random seed; 0 by default.", rich_help_panel=TRAINING)]

_HOW_TO_RUN = (
    "config", "run_dir", "overwrite", "resume", "force_resume", "tensorboard", "offline", "role", "address", "as_json", "quiet",
    "debug",
)  # fmt: skip
"""Parameters that say how a command runs, not what it computes."""


def typed_options(context: Context) -> dict[str, Any]:
    """Returns the options that the user typed and that define the result, by parameter name; their defaults are None, False or ().

    A resumed run takes all others from its record, so a typed default is not the same as no value.
    """
    return {
        name: value
        for name, value in context.params.items()
        if name not in _HOW_TO_RUN and value is not None and value is not False and value != ()
    }


def parse_fields(assignments: Sequence[str] | None) -> dict[str, Any] | None:
    """Returns assignments such as "learning_rate=3e-4" as a mapping, their values as JSON or else text; None for none.

    >>> parse_fields(["learning_rate=3e-4", "optimizer=sgd", "patience=null"])
    {'learning_rate': 0.0003, 'optimizer': 'sgd', 'patience': None}
    """
    fields = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise InvalidArgumentError(f"--set {assignment}: expected FIELD=VALUE, such as learning_rate=3e-4.")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields or None
