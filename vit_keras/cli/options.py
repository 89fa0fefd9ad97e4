"""Options that several commands share, each written once, and which of them the user typed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Context, Option

from vit_keras.errors import InvalidArgumentError


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


AcceptLicense = Annotated[bool, Option("--accept-license", help="Accept a restricted license.")]
BatchSize = Annotated[int | None, Option(help="Images per step.")]
Changes = Annotated[
    list[str] | None,
    Option(
        "--set", metavar="FIELD=VALUE", help="A field of the recipe, such as learning_rate=3e-4.", callback=parse_fields
    ),
]
DataSource = Annotated[str | None, Argument(metavar="DATA", help="A folder of class folders, or a data set's name.")]
Debug = Annotated[bool, Option("--debug", help="Show the full traceback of an error.")]
Epochs = Annotated[int | None, Option(help="Training epochs.")]
Folds = Annotated[
    int | None,
    Option(help="Cross-validate with so many folds: every image is tested once, by a model trained without it."),
]
ForceResume = Annotated[
    bool,
    Option("--force-resume", help="Resume with other package versions, too; results may differ in the last digits."),
]
Json = Annotated[bool, Option("--json", help="Print one JSON value to stdout and nothing else.")]
Limit = Annotated[int | None, Option(help="Maximum number of images per split.")]
Model = Annotated[
    str,
    Argument(metavar="MODEL", help="A run directory, a preset's NAME:TAG, a preset directory, or a .keras file."),
]
Offline = Annotated[bool, Option("--offline", help="Use only cached files; never download.")]
Precision = Annotated[
    str | None, Option(help="auto (default: the fastest here), float32, mixed_bfloat16 or mixed_float16.")
]
Resume = Annotated[bool, Option("--resume", help="Resume the interrupted run in --run-dir.")]
RunDir = Annotated[Path | None, Option(help="Directory to create for the run; by default the next free one in runs/.")]
Seed = Annotated[int | None, Option(help="Random seed; 0 by default.")]
Split = Annotated[
    tuple[float, float] | None,
    Option(
        metavar="VALIDATION TEST", help="Fractions of each class where DATA has no splits; 0.1 0 for no test split."
    ),
]
TensorBoard = Annotated[bool, Option("--tensorboard", help="Write TensorBoard logs, too.")]

_HOW_TO_RUN = ("run_dir", "resume", "force_resume", "tensorboard", "offline", "role", "address", "as_json", "debug")
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
