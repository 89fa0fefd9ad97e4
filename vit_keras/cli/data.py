"""`vit-keras data`. Checking needs no Keras."""

from pathlib import Path

import numpy as np

from vit_keras.cli.output import complain, err, out, print_json, printable
from vit_keras.data.doctor.check import examine
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.scan.progress import file_progress
from vit_keras.errors import StorageError

_ROWS, _VARIANTS = 6, 6


def check(source: Path, reading: ReadOptions, *, report: Path | None, strict: bool, as_json: bool) -> None:
    """Looks at every image of a data set and prints what is the matter with it.

    Args:
        source: A folder of class folders, or a table of files and labels.
        reading: What an image must be, and how many files may be left out.
        report: A page to write; it must not exist.
        strict: Whether files left out, conflicting labels and leaks are refused, however few.
        as_json: One JSON object instead of lines.

    Raises:
        DataError: It makes no data set, or is refused; what was found is printed first.
        StorageError: It can't be read, or the report exists.
    """
    try:
        with file_progress(err) as on_progress:
            checkup = examine(source, reading, report=report, on_progress=on_progress)
    except KeyboardInterrupt:
        complain("What was checked is kept; the same command goes on from there.")
        raise
    if as_json:
        print_json(checkup.to_dict())
    else:
        for line in checkup.lines():
            out.print(printable(line))
        if report is not None:
            out.print(printable(f"look at      {report}"))
    checkup.enforce(reading, strict=strict)


def show(source: str, *, augment: str, image_size: int, out_file: Path, seed: int) -> None:
    """Draws training images beside what training makes of them.

    Args:
        source: What `vk.data.load` takes.
        augment: The name of a strength.
        image_size: Height and width, px.
        out_file: The picture, PNG or JPEG; it must not exist.
        seed: Decides which images, and everything drawn.

    Raises:
        DataError: There is no such data set.
        InvalidArgumentError: There is no such strength.
        StorageError: The picture exists, or can't be written.
    """
    from vit_keras.data.augment.augmentation import resolve_augmentation
    from vit_keras.data.augment.sheets import draw_sheet
    from vit_keras.data.dataset.pipeline import preview_batch
    from vit_keras.data.loading import load

    augmentation = resolve_augmentation(augment)
    if out_file.exists():
        raise StorageError(f"{out_file} exists, and nothing is overwritten: choose another name with --out.")
    with file_progress(err) as on_progress:
        data = load(source, image_size=image_size, seed=seed, on_progress=on_progress)
    for decision in data.decisions:
        out.print(printable(f"read     {decision}"))
    split, names = data.splits["train"], data.class_names
    indices = np.random.default_rng(seed).permutation(len(split))[:_ROWS].tolist()
    drawn = [
        preview_batch(split, indices, augmentation, num_classes=len(names), seed=seed, step=step)
        for step in range(_VARIANTS)
    ]
    try:
        draw_sheet(
            [split.image(index) for index in indices],
            [[images[row] for images, _ in drawn] for row in range(len(indices))],
            [
                [names[split.labels[index]], *(_target(targets[row], names) for _, targets in drawn)]
                for row, index in enumerate(indices)
            ],
            out_file,
        )
    except (OSError, ValueError) as error:  # matplotlib's, of a format it does not write
        raise StorageError(f"{out_file}: could not be written ({error}). Name it .png or .jpg.") from error
    out.print(printable(f"look at {out_file}"))


def _target(target: np.ndarray, names: tuple[str, ...]) -> str:
    """Returns the classes of a target, with their shares where there are several."""
    found = [(float(share), names[label]) for label, share in enumerate(target) if share >= 0.005]
    if len(found) == 1:
        return found[0][1]
    return ", ".join(f"{share:.0%} {name}" for share, name in sorted(found, reverse=True))
