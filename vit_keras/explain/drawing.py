"""Draws attention and relevance maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_keras.errors import InvalidArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = 2.2  # side of a picture
_STRENGTH = 0.7  # maximum opacity of the heat map
_BRIGHTEST = 99.0  # percentile of the brightest value, so that a single outlier does not darken the rest


def overlay(image: np.ndarray, heat: np.ndarray, *, colormap: str = "inferno") -> np.ndarray:
    """Returns an image with a heat map over it.

    Args:
        image: `(height, width, channels)`, pixels 0..255.
        heat: `(rows, columns)`, larger is brighter.
        colormap: A colormap of matplotlib.

    Shapes:
        returns: `(height, width, 3)`, uint8.

    Raises:
        InvalidArgumentError: A shape is wrong, or the map is not finite.

    Example:
        >>> overlay(np.zeros((16, 16, 3)), np.eye(2)).shape
        (16, 16, 3)
    """
    import matplotlib as mpl
    from PIL import Image

    image, heat = np.asarray(image), np.asarray(heat, "float64")
    if image.ndim != 3 or image.shape[2] not in (1, 3) or heat.ndim != 2 or not np.isfinite(heat).all():
        raise InvalidArgumentError(
            f"Expected an image (height, width, 1 or 3 channels) and a finite map (rows, columns), not {image.shape} and {heat.shape}."
        )
    pixels = np.broadcast_to(image.clip(0, 255).astype("uint8"), (*image.shape[:2], 3))
    brightest = float(np.percentile(heat, _BRIGHTEST))
    scaled = ((heat - heat.min()) / max(brightest - heat.min(), 1e-12)).clip(0, 1)
    size = (image.shape[1], image.shape[0])
    smooth = np.asarray(Image.fromarray(scaled.astype("float32")).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    tint = mpl.colormaps[colormap](smooth)[..., :3] * 255
    share = _STRENGTH * (0.6 + 0.4 * smooth[..., None])  # the image is darkened where the map is low
    mixed: np.ndarray = (pixels * (1 - share) + tint * share).round().astype("uint8")
    return mixed


def show(pictures: Sequence[Any], *, titles: Sequence[str] = (), columns: int = 6) -> "Figure":
    """Returns a figure with a grid of images, overlays, or maps; a notebook shows it.

    Args:
        pictures: Each `(height, width, 3)`, uint8 or from 0 to 1, or `(rows, columns)`.
        titles: Title of each.
        columns: Pictures per row.

    Raises:
        InvalidArgumentError: There are no pictures, or one has another shape.

    Example:
        >>> len(show([np.zeros((8, 8, 3)), np.eye(4)]).axes)
        2
    """
    from vit_keras.reporting.pictures import Picture

    arrays = [np.asarray(picture) for picture in pictures]
    if not arrays or columns < 1:
        raise InvalidArgumentError(f"There is nothing to show: {len(arrays)} pictures in {columns} columns.")
    for array in arrays:
        if array.ndim != 2 and (array.ndim != 3 or array.shape[-1] not in (1, 3)):
            raise InvalidArgumentError(
                f"pictures: expected arrays of shape (height, width, 3) or (rows, columns), not {array.shape}."
            )
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    figure = Picture(columns * _INCHES, rows * (_INCHES + 0.25 * bool(titles)))
    for place, array in enumerate(arrays, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(array.squeeze() if array.ndim == 3 and array.shape[-1] == 1 else array, cmap="inferno")
        axes.set_axis_off()
        if place <= len(titles):
            axes.set_title(titles[place - 1], fontsize=9)
    return figure
