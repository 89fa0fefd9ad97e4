"""Options that several commands share, each written once, and which of them the user typed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Context, Option

from vit_keras.cli.config_file import read_config
from vit_keras.cli.help import DATA, DEVICES, MODEL, OUTPUT, TRAINING
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets

DATA_SETS = ("emoji", "digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
"""Names of data sets that shells complete."""


SOURCE_HELP = (
    "A folder of class folders, a table of files and labels, or a data set's name (emoji, cifar10, tfds:NAME)."
)


def complete_source(incomplete: str) -> Iterator[str]:
    """Yields names of data sets; the shell itself completes folders."""
    yield from (name for name in DATA_SETS if name.startswith(incomplete))


def complete_preset(incomplete: str) -> Iterator[str]:
    """Yields names of presets."""
    yield from (name for name in list_presets() if name.startswith(incomplete))


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


AcceptLicense = Annotated[bool, Option("--accept-license", help="Accept a restricted license.", rich_help_panel=MODEL)]
BatchSize = Annotated[int | None, Option(metavar="N", help="Images per step.", rich_help_panel=TRAINING)]
Changes = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A field of the recipe, such as learning_rate=3e-4.",
        callback=parse_fields,
        rich_help_panel=TRAINING,
    ),
]
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
Contained = Annotated[
    bool,
    Option(
        "--contained",
        help="Of a table: refuse files outside --image-dir, or the table's folder.",
        rich_help_panel=DATA,
    ),
]
DataSource = Annotated[
    str | None,
    Argument(
        metavar="SOURCE",
        help=SOURCE_HELP,
        autocompletion=complete_source,
    ),
]
Debug = Annotated[
    bool,
    Option("--debug", help="Show all that libraries log, and the traceback of an error.", rich_help_panel=OUTPUT),
]
Epochs = Annotated[int | None, Option(metavar="N", help="Training epochs.", rich_help_panel=TRAINING)]
Folds = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Cross-validate with so many folds: every image is tested once, by a model trained without it.",
        rich_help_panel=DATA,
    ),
]
Coordinator = Annotated[
    str | None,
    Option(
        "--coordinator",
        metavar="HOST:PORT",
        help="Of a run of several processes without a launcher: where process 0 listens.",
        rich_help_panel=DEVICES,
    ),
]
NumDevices = Annotated[
    str | None,
    Option(
        "--devices", metavar="N", help="Devices that share each batch; all (auto) by default.", rich_help_panel=DEVICES
    ),
]
Distribution = Annotated[
    str | None,
    Option(
        "--distribution",
        metavar="NAME",
        help="data (default): each device has all weights; fsdp: a part of them; none: one device.",
        rich_help_panel=DEVICES,
    ),
]
NumProcesses = Annotated[
    int | None, Option("--num-processes", metavar="N", help="How many processes there are.", rich_help_panel=DEVICES)
]
ProcessId = Annotated[
    int | None, Option("--process-id", metavar="N", help="Which of them this one is, from 0.", rich_help_panel=DEVICES)
]
ForceResume = Annotated[
    bool,
    Option(
        "--force-resume",
        help="Resume with other package versions, too; results may differ in the last digits.",
        rich_help_panel=TRAINING,
    ),
]
ImageColumn = Annotated[
    str | None, Option(metavar="NAME", help="Of a table: the column of image files.", rich_help_panel=DATA)
]
ImageDir = Annotated[
    str | None,
    Option(
        metavar="FOLDER",
        help="Of a table: where relative paths start; by default the table's folder.",
        rich_help_panel=DATA,
    ),
]
Images = Annotated[
    list[str],
    Argument(
        metavar="IMAGES",
        help="Image files (JPEG, PNG, WebP, GIF, BMP, PPM, TIFF), folders, patterns such as 'photos/**/*.jpg', lists of paths (.csv, .tsv, .jsonl, "
        ".parquet, .txt), or - for a list on stdin.",
    ),
]
Json = Annotated[
    bool, Option("--json", help="Print one JSON value to stdout and nothing else.", rich_help_panel=OUTPUT)
]
LabelColumn = Annotated[
    list[str] | None,
    Option(
        metavar="NAME",
        help="Of a table: the column of labels; repeat it for columns of 0 and 1, or of numbers.",
        rich_help_panel=DATA,
    ),
]
LabelSeparator = Annotated[
    str | None,
    Option(
        metavar="SEPARATOR",
        help="Of a table: what separates several labels in a cell; | by default.",
        rich_help_panel=DATA,
    ),
]
Limit = Annotated[int | None, Option(metavar="N", help="Maximum number of images per split.", rich_help_panel=DATA)]
Model = Annotated[
    str,
    Argument(
        metavar="MODEL",
        help="A run directory, a preset's NAME:TAG, a preset directory, or a .keras file.",
        autocompletion=complete_preset,
    ),
]
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
Split = Annotated[
    tuple[float, float] | None,
    Option(
        metavar="VALIDATION TEST",
        help="Fractions of each class where SOURCE has no splits; 0.1 0 for no test split.",
        rich_help_panel=DATA,
    ),
]
Task = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="What the labels mean: single_label, multi_label or regression; auto (default) finds it from them.",
        rich_help_panel=DATA,
    ),
]
TensorBoard = Annotated[bool, Option("--tensorboard", help="Write TensorBoard logs, too.", rich_help_panel=OUTPUT)]

_LOADING = ("task", "image_dir", "image_column", "label_column", "label_separator", "contained")
"""Parameters that `vk.data.load` and `vk.data.check` take, too."""

_HOW_TO_RUN = (
    "config", "run_dir", "overwrite", "resume", "force_resume", "tensorboard", "offline", "join", "as_json", "quiet",
    "debug", "devices", "distribution", "coordinator", "num_processes", "process_id",
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


def loading_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords of `vk.data.load` among parameters of a command: those of tables, and the task.

    >>> loading_options({"label_column": ["age"], "task": None, "contained": False, "seed": 1})
    {'label_column': ['age']}
    """
    return {name: values[name] for name in _LOADING if values.get(name)}
