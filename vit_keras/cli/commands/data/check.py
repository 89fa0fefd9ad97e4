"""`vit-keras data check`; it needs no Keras."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from vit_keras.cli import options
from vit_keras.cli.help import DATA, OUTPUT
from vit_keras.cli.output import choose_output, out, print_error, print_json, printable, progress_console


def check_command(
    context: Context,
    source: Annotated[
        Path, Argument(metavar="SOURCE", help="A folder of class folders, or a table of files and labels.")
    ],
    task: options.Task = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    report: Annotated[Path | None, Option(metavar="FILE", help="HTML report to write.", rich_help_panel=OUTPUT)] = None,
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="Fail on any unusable file, conflicting label or leak between splits.",
            rich_help_panel=DATA,
        ),
    ] = False,
    max_error_rate: Annotated[
        float, Option(metavar="FRACTION", help="Maximum fraction of unusable files.", rich_help_panel=DATA)
    ] = 0.01,
    min_side: Annotated[int, Option(metavar="PX", help="Minimum side of an image.", rich_help_panel=DATA)] = 8,
    max_aspect: Annotated[
        float, Option(metavar="RATIO", help="Maximum ratio of an image's sides.", rich_help_panel=DATA)
    ] = 20.0,
    follow_links: Annotated[
        bool, Option("--follow-links", help="Follow symbolic links.", rich_help_panel=DATA)
    ] = False,
    drop_empty_classes: Annotated[
        bool, Option("--drop-empty-classes", help="Leave out class folders without images.", rich_help_panel=DATA)
    ] = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Check every image: damage, duplicates, leaks between splits, conflicting labels, balance, sizes.

    Examples:
        vit-keras data check photos/
        vit-keras data check photos/ --report photos.html --overwrite
        vit-keras data check labels.csv --strict && vit-keras train labels.csv
    """
    from vit_keras.data.doctor.check import examine
    from vit_keras.data.images.read_options import ReadOptions
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.data.tables.options import TableOptions

    reading = ReadOptions(
        max_error_rate=max_error_rate, min_side=min_side, max_aspect=max_aspect, follow_links=follow_links,
        drop_empty_classes=drop_empty_classes,
    )  # fmt: skip
    tables = TableOptions(**options.loading_options(context.params))
    if report is not None:
        choose_output(report, report, option="--report", overwrite=overwrite)
    try:
        with file_progress(progress_console(as_json=True, quiet=quiet)) as on_progress:
            checkup = examine(
                source, reading, tables=tables, report=report, overwrite=overwrite, on_progress=on_progress
            )
    except KeyboardInterrupt:
        print_error("Files that were checked are remembered, and not checked again.")
        raise
    if as_json:
        print_json(checkup.to_dict())
    else:
        for line in checkup.lines():
            out.print(printable(line))
        if report is not None:
            out.print(printable(f"report       {report}"))
        out.print(printable(checkup.verdict(reading, strict=strict)))
    checkup.enforce(reading, strict=strict)
