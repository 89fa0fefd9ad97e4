"""Options that several commands share, each written once, and which of them the user typed."""

import json
from collections.abc import Mapping, Sequence
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
Contained = Annotated[
    bool, Option("--contained", help="Of a table: refuse files outside --image-dir, or the table's folder.")
]
DataSource = Annotated[
    str | None,
    Argument(metavar="DATA", help="A folder of class folders, a table of files and labels, or a data set's name."),
]
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
ImageColumn = Annotated[str | None, Option(metavar="NAME", help="Of a table: the column of image files.")]
ImageDir = Annotated[
    str | None, Option(metavar="FOLDER", help="Of a table: where relative paths start; by default the table's folder.")
]
Images = Annotated[
    list[str],
    Argument(
        metavar="IMAGES",
        help="Image files (JPEG, PNG, WebP, GIF, BMP, PPM, TIFF), folders, patterns such as 'photos/**/*.jpg', lists of paths (.csv, .tsv, .jsonl, "
        ".parquet, .txt), or - for a list on stdin.",
    ),
]
Json = Annotated[bool, Option("--json", help="Print one JSON value to stdout and nothing else.")]
LabelColumn = Annotated[
    list[str] | None,
    Option(metavar="NAME", help="Of a table: the column of labels; repeat it for columns of 0 and 1, or of numbers."),
]
LabelSeparator = Annotated[
    str | None, Option(metavar="TEXT", help="Of a table: what separates several labels in a cell; | by default.")
]
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
Task = Annotated[
    str | None,
    Option(help="What the labels mean: single_label, multi_label or regression; auto (default) finds it from them."),
]
TensorBoard = Annotated[bool, Option("--tensorboard", help="Write TensorBoard logs, too.")]

_LOADING = ("task", "image_dir", "image_column", "label_column", "label_separator", "contained")
"""Parameters that `vk.data.load` and `vk.data.check` take, too."""

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


def loading_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords of `vk.data.load` among parameters of a command: those of tables, and the task.

    >>> loading_options({"label_column": ["age"], "task": None, "contained": False, "seed": 1})
    {'label_column': ['age']}
    """
    return {name: values[name] for name in _LOADING if values.get(name)}
