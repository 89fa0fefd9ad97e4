"""Draws sheets of augmented images."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_keras.errors import InvalidArgumentError

_INCHES = 1.6  # side of a cell


def draw_sheet(
    originals: Sequence[np.ndarray],
    variants: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    out: Path,
) -> None:
    """Draws one row per image, pixels 0..255: the original, then its variants, each with a title; `out` is a PNG or JPEG file."""
    sizes = {len(row) + 1 for row in variants} | {len(row) for row in titles}
    if len({len(originals), len(variants), len(titles)}) > 1 or len(sizes) != 1:
        raise InvalidArgumentError(
            "Each row of a sheet needs an original, the same number of variants, and a title for each: got "
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
