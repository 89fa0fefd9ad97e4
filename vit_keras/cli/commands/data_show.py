"""`vit-keras data show`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import start_backend
from vit_keras.cli.output import err, out, printable, refuse_existing
from vit_keras.errors import StorageError

if TYPE_CHECKING:
    import numpy as np

_ROWS, _VARIANTS = 6, 6


def show_command(
    context: Context,
    source: Annotated[str, Argument(metavar="DATA", help="emoji, a data set's name, a folder, or a table.")],
    task: options.Task = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    augment: Annotated[str, Option(help="none, moved, light, medium, strong or 3-augment.")] = "medium",
    image_size: Annotated[int, Option(help="Height and width, px.")] = 224,
    out_file: Annotated[Path, Option("--out", help="Picture to write; it must not exist.")] = Path("augmented.png"),
    seed: Annotated[int, Option(help="Random seed.")] = 0,
    debug: options.Debug = False,
) -> None:
    """Draw training images next to augmented versions of them."""
    start_backend(debug=debug)
    import numpy as np

    from vit_keras.data.augment.augmentation import resolve_augmentation
    from vit_keras.data.augment.sheets import draw_sheet
    from vit_keras.data.dataset.pipeline import preview_batch
    from vit_keras.data.loading import load
    from vit_keras.data.scan.progress import file_progress
    from vit_keras.data.tasks import format_label

    augmentation = resolve_augmentation(augment)
    refuse_existing(out_file, "name with --out")
    with file_progress(err) as on_progress:
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
            [split.image(index) for index in indices],
            [[images[row] for images, _ in variants] for row in range(len(indices))],
            captions,
            out_file,
        )
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for a format that it does not write
        raise StorageError(f"{out_file}: could not be written ({error}). Name it .png or .jpg.") from error
    out.print(printable(f"picture  {out_file}"))


def _describe_target(target: "np.ndarray", names: tuple[str, ...], task: str) -> str:
    """Returns the label of an image, or the fractions of a mixed one."""
    from vit_keras.data.tasks import format_label

    if task == "regression":
        return format_label(target, names)
    found = [(float(share), names[label]) for label, share in enumerate(target) if share >= 0.005]
    if all(share >= 0.995 for share, _ in found):
        return "|".join(name for _, name in found)
    return ", ".join(f"{share:.0%} {name}" for share, name in sorted(found, reverse=True))
