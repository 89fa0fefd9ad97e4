"""RandAugment's operations on Pillow images, and the argument that each magnitude gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageEnhance, ImageOps

if TYPE_CHECKING:
    import numpy as np

_KERNELS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Operation:
    """An operation on an image; `argument` makes its argument from a magnitude, usually 0 to 10."""

    change: Callable[[Image.Image, float, np.random.Generator], Image.Image]
    argument: Callable[[float, np.random.Generator], float] = lambda magnitude, rng: magnitude

    def apply(self, image: Image.Image, magnitude: float, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed with this magnitude."""
        return self.change(image, self.argument(magnitude, rng), rng)


def _random_sign(largest: float) -> Callable[[float, np.random.Generator], float]:
    """Makes an argument that is `largest` at magnitude 10, negative half of the time."""
    return lambda magnitude, rng: magnitude / 10 * largest * (1 if rng.random() < 0.5 else -1)


def _factor(magnitude: float, rng: np.random.Generator) -> float:
    return max(0.1, 1 + _random_sign(0.9)(magnitude, rng))


def _enhance(enhancer: Callable[[Image.Image], Any]) -> Callable[..., Image.Image]:
    return lambda image, factor, rng: enhancer(image).enhance(factor)


def _rotate(image: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    return image.rotate(degrees, _kernel(rng), fillcolor=_gray(image))


def _affine(matrix: Callable[[Image.Image, float], tuple[float, ...]]) -> Callable[..., Image.Image]:
    """Makes an operation whose pixel (x, y) comes from (a x + b y + c, d x + e y + f)."""
    return lambda image, argument, rng: image.transform(
        image.size, Image.Transform.AFFINE, matrix(image, argument), _kernel(rng), fillcolor=_gray(image)
    )


def _gray(image: Image.Image) -> int | tuple[int, ...]:
    from vit_keras.data.images.preprocess import GRAY  # imports numpy, which lists of recipes do without

    return GRAY[image.mode]


def _kernel(rng: np.random.Generator) -> Image.Resampling:
    return _KERNELS[rng.random() < 0.5]


def _posterize(image: Image.Image, bits: float, rng: np.random.Generator) -> Image.Image:
    if bits < 1:
        return Image.new(image.mode, image.size)  # black, which Pillow does not make
    return ImageOps.posterize(image, min(int(bits), 8))


def _solarize(image: Image.Image, threshold: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(image, int(threshold))


def _solarize_add(image: Image.Image, add: float, rng: np.random.Generator) -> Image.Image:
    levels = [min(255, level + int(add)) if level < 128 else level for level in range(256)]
    return image.point(levels * len(image.getbands()))


OPERATIONS: Mapping[str, Operation] = {
    "autocontrast": Operation(lambda image, _, rng: ImageOps.autocontrast(image)),
    "equalize": Operation(lambda image, _, rng: ImageOps.equalize(image)),
    "invert": Operation(lambda image, _, rng: ImageOps.invert(image)),
    "rotate": Operation(_rotate, _random_sign(30)),
    "posterize": Operation(_posterize, lambda magnitude, rng: 4 - int(magnitude / 10 * 4)),
    "solarize": Operation(_solarize, lambda magnitude, rng: 256 - min(256, int(magnitude / 10 * 256))),
    "solarize_add": Operation(_solarize_add, lambda magnitude, rng: min(128, int(magnitude / 10 * 110))),
    "color": Operation(_enhance(ImageEnhance.Color), _factor),
    "contrast": Operation(_enhance(ImageEnhance.Contrast), _factor),
    "brightness": Operation(_enhance(ImageEnhance.Brightness), _factor),
    "sharpness": Operation(_enhance(ImageEnhance.Sharpness), _factor),
    "shear_x": Operation(_affine(lambda image, shear: (1, shear, 0, 0, 1, 0)), _random_sign(0.3)),
    "shear_y": Operation(_affine(lambda image, shear: (1, 0, 0, shear, 1, 0)), _random_sign(0.3)),
    "translate_x": Operation(_affine(lambda image, share: (1, 0, share * image.width, 0, 1, 0)), _random_sign(0.45)),
    "translate_y": Operation(_affine(lambda image, share: (1, 0, 0, 0, 1, share * image.height)), _random_sign(0.45)),
}
"""RandAugment's fifteen operations in timm's increasing form: a larger magnitude always changes more."""


def _dark_to_bright(magnitude: float, rng: np.random.Generator) -> float:
    return magnitude / 10 * 1.8 + 0.1


PLAIN_OPERATIONS: Mapping[str, Operation] = {
    **OPERATIONS,
    "posterize": Operation(_posterize, lambda magnitude, rng: int(magnitude / 10 * 4)),
    "solarize": Operation(_solarize, lambda magnitude, rng: min(256, int(magnitude / 10 * 256))),
    **{
        name: Operation(OPERATIONS[name].change, _dark_to_bright)
        for name in ("color", "contrast", "brightness", "sharpness")
    },
}
"""The operations as first published: posterize and solarize change less with larger magnitudes, color changes nothing at 5."""
