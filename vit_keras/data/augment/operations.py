"""Changes to single images, in Pillow, each with what a magnitude means for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_GREY: Mapping[str, int | tuple[int, ...]] = {"L": 128, "RGB": (128, 128, 128)}  # what comes in from outside
_KERNELS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Operation:
    """A change to an image, and what a magnitude, usually 0 to 10, means for it.

    Args:
        change: Takes an image, the argument and what draws.
        argument: Takes a magnitude and what draws; returns the argument.
    """

    change: Callable[[Image.Image, float, np.random.Generator], Image.Image]
    argument: Callable[[float, np.random.Generator], float] = lambda magnitude, rng: magnitude

    def apply(self, image: Image.Image, magnitude: float, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed as strongly as the magnitude says."""
        return self.change(image, self.argument(magnitude, rng), rng)


def _either_way(largest: float) -> Callable[[float, np.random.Generator], float]:
    """Makes an argument of `largest` at magnitude 10, one time in two negative."""
    return lambda magnitude, rng: magnitude / 10 * largest * (1 if rng.random() < 0.5 else -1)


def _away_from_one(magnitude: float, rng: np.random.Generator) -> float:
    return max(0.1, 1 + _either_way(0.9)(magnitude, rng))


def _enhanced(enhancer: Callable[[Image.Image], Any]) -> Callable[..., Image.Image]:
    return lambda image, factor, rng: enhancer(image).enhance(factor)


def _rotated(image: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    return image.rotate(degrees, _kernel(rng), fillcolor=_GREY[image.mode])


def _affine(matrix: Callable[[Image.Image, float], tuple[float, ...]]) -> Callable[..., Image.Image]:
    """Makes a change that takes the pixel (x, y) from (a x + b y + c, d x + e y + f)."""
    return lambda image, argument, rng: image.transform(
        image.size, Image.Transform.AFFINE, matrix(image, argument), _kernel(rng), fillcolor=_GREY[image.mode]
    )


def _kernel(rng: np.random.Generator) -> Image.Resampling:
    return _KERNELS[rng.random() < 0.5]


def _posterized(image: Image.Image, bits: float, rng: np.random.Generator) -> Image.Image:
    if bits < 1:
        return Image.new(image.mode, image.size)  # black, which Pillow refuses to make
    return ImageOps.posterize(image, min(int(bits), 8))


def _solarized(image: Image.Image, threshold: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(image, int(threshold))


def _solarized_by_adding(image: Image.Image, add: float, rng: np.random.Generator) -> Image.Image:
    levels = [min(255, level + int(add)) if level < 128 else level for level in range(256)]
    return image.point(levels * len(image.getbands()))


OPERATIONS: Mapping[str, Operation] = {
    "autocontrast": Operation(lambda image, _, rng: ImageOps.autocontrast(image)),
    "equalize": Operation(lambda image, _, rng: ImageOps.equalize(image)),
    "invert": Operation(lambda image, _, rng: ImageOps.invert(image)),
    "rotate": Operation(_rotated, _either_way(30)),
    "posterize": Operation(_posterized, lambda magnitude, rng: 4 - int(magnitude / 10 * 4)),
    "solarize": Operation(_solarized, lambda magnitude, rng: 256 - min(256, int(magnitude / 10 * 256))),
    "solarize_add": Operation(_solarized_by_adding, lambda magnitude, rng: min(128, int(magnitude / 10 * 110))),
    "color": Operation(_enhanced(ImageEnhance.Color), _away_from_one),
    "contrast": Operation(_enhanced(ImageEnhance.Contrast), _away_from_one),
    "brightness": Operation(_enhanced(ImageEnhance.Brightness), _away_from_one),
    "sharpness": Operation(_enhanced(ImageEnhance.Sharpness), _away_from_one),
    "shear_x": Operation(_affine(lambda image, shear: (1, shear, 0, 0, 1, 0)), _either_way(0.3)),
    "shear_y": Operation(_affine(lambda image, shear: (1, 0, 0, shear, 1, 0)), _either_way(0.3)),
    "translate_x": Operation(_affine(lambda image, share: (1, 0, share * image.width, 0, 1, 0)), _either_way(0.45)),
    "translate_y": Operation(_affine(lambda image, share: (1, 0, 0, 0, 1, share * image.height)), _either_way(0.45)),
}
"""RandAugment's fifteen changes by name, in timm's increasing form: the larger the magnitude, the more is changed."""


def _from_dark_to_bright(magnitude: float, rng: np.random.Generator) -> float:
    return magnitude / 10 * 1.8 + 0.1


PLAIN_OPERATIONS: Mapping[str, Operation] = {
    **OPERATIONS,
    "posterize": Operation(_posterized, lambda magnitude, rng: int(magnitude / 10 * 4)),
    "solarize": Operation(_solarized, lambda magnitude, rng: min(256, int(magnitude / 10 * 256))),
    **{
        name: Operation(OPERATIONS[name].change, _from_dark_to_bright)
        for name in ("color", "contrast", "brightness", "sharpness")
    },
}
"""The same as first published: posterize and solarize change less the larger the magnitude, and 5 leaves colours alone."""
