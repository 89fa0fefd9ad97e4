"""Whether pixels are in the range that a model takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_NEARLY_ALL = 0.98  # of the pixels that are not zero: some overshoot where images were resized
_OVERSHOOT = 0.01
_NEGATIVE = 0.1  # of the pixels
_SMALL_STD = 0.02  # models that are built for pixels 0..1 divide by less


def pixel_problem(pixels: Any, *, pixel_std: Sequence[float]) -> str | None:
    """Returns what is wrong with the range of pixels, in words; None where nothing shows.

    Args:
        pixels: An array of any shape. Integers are taken for 0..255.
        pixel_std: What the model divides pixels / 255 by.

    Example:
        >>> pixel_problem(np.array([0.2, 0.5, 0.9]), pixel_std=[0.5])
        'nearly all pixels are from 0 to 1'
        >>> pixel_problem(np.array([20.0, 128.0, 230.0]), pixel_std=[0.5]) is None
        True
    """
    pixels = np.asarray(pixels)
    if pixels.dtype.kind in "uib" or takes_small_pixels(pixel_std):
        return None
    pixels = pixels.astype("float32")
    present = np.abs(pixels[pixels != 0])
    if not present.size or not np.isfinite(present).all():
        return None
    if (pixels < 0).mean() > _NEGATIVE:
        return "many pixels are negative, as after a normalization"
    if np.quantile(present, _NEARLY_ALL) <= 1 + _OVERSHOOT:
        return "nearly all pixels are from 0 to 1"
    return None


def takes_small_pixels(pixel_std: Sequence[float]) -> bool:
    """Whether a model is built for pixels of a small range, such as 0..1.

    Args:
        pixel_std: What it divides pixels / 255 by.
    """
    return min(pixel_std) < _SMALL_STD


def advice(problem: str) -> str:
    """Returns a problem with what to do.

    Args:
        problem: What `pixel_problem` gave.
    """
    return (
        f"{problem}, and the model takes pixels 0..255, which it normalizes itself: multiply them by 255, leave out the normalization, "
        "or build the model with the pixel_mean and pixel_std of your range."
    )
