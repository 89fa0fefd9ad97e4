"""Sheets of augmented images that a person looks at."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_keras.errors import InvalidArgumentError

_INCHES = 1.6  # side of a cell


def augmented_sheet(
    originals: Sequence[np.ndarray],
    variants: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    out: Path,
) -> None:
    """Draws one row an image: as it is, then what augmentation makes of it.

    Args:
        originals: Images, `(height, width, channels)`, pixels 0..255.
        variants: As many for each of them, likewise.
        titles: What stands above each cell, the original's first.
        out: The picture, PNG or JPEG.

    Raises:
        InvalidArgumentError: There is no image, or the rows have not all the same number of cells.
    """
    sizes = {len(row) + 1 for row in variants} | {len(row) for row in titles}
    if len({len(originals), len(variants), len(titles)}) > 1 or len(sizes) != 1:
        raise InvalidArgumentError(
            f"Every row of a sheet has an original, as many variants as the other rows and a title for each: there are "
            f"{len(originals)} originals, {len(variants)} rows of variants and {len(titles)} rows of titles, with "
            f"{', '.join(map(str, sorted(sizes)))} cells."
        )
    rows, columns = len(originals), sizes.pop()
    figure = Figure(figsize=(columns * _INCHES, rows * (_INCHES + 0.2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    images = [image for original, row in zip(originals, variants, strict=True) for image in (original, *row)]
    for cell, image, title in zip(axes.flat, images, itertools.chain(*titles), strict=True):
        cell.axis("off")
        pixels = np.asarray(image).clip(0, 255).astype("uint8")
        cell.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
        cell.set_title(title, fontsize=8)
    figure.savefig(out, dpi=100)
