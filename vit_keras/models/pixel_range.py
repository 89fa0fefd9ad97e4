"""Recognizes pixels that are not 0..255."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_NEARLY_ALL = 0.98  # of the pixels that are not zero: resizing makes some overshoot
_OVERSHOOT = 0.01
_NEGATIVE = 0.1  # of the pixels
_SMALL_STD = 0.02  # a model for pixels 0..1 divides by less


def find_pixel_problem(pixels: Any, *, pixel_std: Sequence[float]) -> str | None:
    """Returns what is wrong with the range of pixels and how to fix it, or None. Integers count as 0..255.

    Models whose `pixel_std`, the divisor of pixels / 255, is for another range than 0..255 accept all pixels.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype.kind in "uib" or min(pixel_std) < _SMALL_STD:
        return None
    pixels = pixels.astype("float32")
    present = np.abs(pixels[pixels != 0])
    if not present.size or not np.isfinite(present).all():
        return None
    if (pixels < 0).mean() > _NEGATIVE:
        problem = "many pixels are negative, as after a normalization"
    elif (present <= 1 + _OVERSHOOT).mean() >= _NEARLY_ALL:
        problem = "nearly all pixels are from 0 to 1"
    else:
        return None
    return (
        f"{problem}, but the model takes pixels 0..255 and normalizes them itself: multiply by 255, leave out the normalization, "
        "or build the model with the pixel_mean and pixel_std of your range."
    )
