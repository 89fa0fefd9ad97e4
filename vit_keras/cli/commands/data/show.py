"""`vit-keras data show`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_source
from vit_keras.cli.help import DATA, OUTPUT, TRAINING
from vit_keras.cli.output import choose_output, out, printable, progress_console
from vit_keras.errors import StorageError

if TYPE_CHECKING:
    import numpy as np

_PICTURE = Path("augmented.png")
_ROWS, _VARIANTS = 6, 6


def show_command(
    context: Context,
    source: Annotated[
        str,
        Argument(
            metavar="SOURCE",
            help=options.SOURCE_HELP,
            autocompletion=options.complete_source,
        ),
    ],
    task: options.Task = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    augment: Annotated[
        str, Option(metavar="NAME", help="none, moved, light, medium, strong or 3-augment.", rich_help_panel=TRAINING)
    ] = "medium",
    image_size: Annotated[int, Option(metavar="PX", help="Height and width.", rich_help_panel=DATA)] = 224,
    seed: Annotated[int, Option(metavar="N", help="Random seed.", rich_help_panel=TRAINING)] = 0,
    out_file: Annotated[
        Path | None,
        Option(
            "--out",
            metavar="FILE",
            help="Picture to write; by default augmented.png, augmented-2.png, ...",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Draw training images next to augmented versions of them.

    Examples:
        vit-keras data show emoji --image-size 32
        vit-keras data show photos/ --augment strong --out strong.png
    """
    from vit_keras.data.augment.augmentation import resolve_augmentation

    picture = choose_output(out_file, _PICTURE, option="--out", overwrite=overwrite)
    augmentation = resolve_augmentation(augment)
    check_source(source)
    start_backend(debug=debug)
    import numpy as np

    from vit_keras.data.augment.sheets import draw_sheet
    from vit_keras.data.dataset.pipeline import preview_batch
    from vit_keras.data.loading import load
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.data.tasks import format_label

    announce(f"reading {source}")
    with file_progress(progress_console(as_json=True, quiet=quiet)) as on_progress:
        data = load(
            source, image_size=image_size, seed=seed, on_progress=on_progress, **options.loading_options(context.params)
        )
    for decision in data.decisions:
        out.print(printable(f"read     {decision}"))
    split, names = data.splits["train"], data.class_names
    indices = np.random.default_rng(seed).permutation(len(split))[:_ROWS].tolist()
    variants = [
        preview_batch(split, indices, augmentation, num_classes=len(names), seed=seed, step=step)
        for step in range(_VARIANTS)
    ]
    captions = [
        [
            format_label(split.labels[index], names),
            *(_describe_target(targets[row], names, data.task) for _, targets in variants),
        ]
        for row, index in enumerate(indices)
    ]
    try:
        draw_sheet(
            [split.picture(index) for index in indices],
            [[images[row] for images, _ in variants] for row in range(len(indices))],
            captions,
            picture,
        )
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for a format that it does not write
        raise StorageError(f"{picture}: could not be written ({error}). Name it .png or .jpg.") from error
    out.print(printable(f"picture  {picture}"))


def _describe_target(target: "np.ndarray", names: tuple[str, ...], task: str) -> str:
    """Returns the label of an image, or the fractions of a mixed one."""
    from vit_keras.data.tasks import format_label

    if task == "regression":
        return format_label(target, names)
    found = [(float(share), names[label]) for label, share in enumerate(target) if share >= 0.005]
    if all(share >= 0.995 for share, _ in found):
        return "|".join(name for _, name in found)
    return ", ".join(f"{share:.0%} {name}" for share, name in sorted(found, reverse=True))
