"""Draws sheets of augmented images."""

import functools
import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from vit_keras.errors import InvalidArgumentError

_INCHES = 1.6  # side of a cell
_FONT_SIZE = 8  # points
_LINES = 2  # of a title
_DPI = 100


def draw_sheet(
    originals: Sequence[np.ndarray],
    variants: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    out: Path,
) -> None:
    """Draws one row per image, pixels 0..255: the original, then its variants, each with a title; `out` is a PNG or JPEG file.

    A title wider than its image is wrapped, and cut after the second line.
    """
    sizes = {len(row) + 1 for row in variants} | {len(row) for row in titles}
    if len({len(originals), len(variants), len(titles)}) > 1 or len(sizes) != 1:
        raise InvalidArgumentError(
            "Each row of a sheet needs an original, the same number of variants, and a title for each: got "
            f"{len(originals)} originals, {len(variants)} rows of variants and {len(titles)} rows of titles, with "
            f"{', '.join(map(str, sorted(sizes)))} cells."
        )
    rows, columns = len(originals), sizes.pop()
    fitted = [[fit_title(title, _INCHES * 0.95) for title in row] for row in titles]
    lines = max((title.count("\n") + 1 for row in fitted for title in row), default=1)
    height = _INCHES + 0.2 * lines
    figure = Figure(figsize=(columns * _INCHES, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    images = [image for original, row in zip(originals, variants, strict=True) for image in (original, *row)]
    for cell, image, title in zip(axes.flat, images, itertools.chain(*fitted), strict=True):
        cell.axis("off")
        pixels = np.asarray(image).clip(0, 255).astype("uint8")
        cell.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
        cell.set_title(title, fontsize=_FONT_SIZE, parse_math=False)
    figure.savefig(out, dpi=_DPI)


def fit_title(title: str, inches: float) -> str:
    """Returns a title in lines that are no wider than `inches`, cut after the second one."""
    most = next(
        (count for count in range(len(title), 1, -1) if _is_narrow(textwrap.wrap(title, count), inches)), 1
    )  # characters in a line
    lines = textwrap.wrap(title, most)
    if len(lines) <= _LINES:
        return "\n".join(lines)
    last = lines[_LINES - 1]
    while last and not _is_narrow([f"{last}…"], inches):
        last = last[:-1]
    return "\n".join([*lines[: _LINES - 1], f"{last}…"])


def _is_narrow(lines: Sequence[str], inches: float) -> bool:
    return all(_width(line) <= inches for line in lines)


@functools.cache
def _width(line: str) -> float:
    """Returns the width of a line of a title, inches."""
    width, _, _ = TextToPath().get_text_width_height_descent(line, FontProperties(size=_FONT_SIZE), ismath=False)
    return float(width) / 72
