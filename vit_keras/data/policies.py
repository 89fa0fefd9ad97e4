"""Policies: random changes to single images, in Pillow, as RandAugment and 3-Augment define them."""

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from vit_keras.errors import InvalidArgumentError

_GREY = 128
_HIGHEST = 10.0  # of a magnitude, unless a policy says otherwise
_THREE_AUGMENT = "3-augment"


class Policy(Protocol):
    """What is done to an image."""

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed; everything drawn comes from `rng`."""


def _affine(image: Image.Image, matrix: tuple[float, ...], rng: np.random.Generator) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, _resampling(rng), fillcolor=_fill(image))


def _resampling(rng: np.random.Generator) -> Image.Resampling:
    return Image.Resampling.BILINEAR if rng.random() < 0.5 else Image.Resampling.BICUBIC


def _fill(image: Image.Image) -> int | tuple[int, ...]:
    return _GREY if image.mode == "L" else (_GREY,) * len(image.getbands())


def _solarize_add(image: Image.Image, add: float) -> Image.Image:
    return image.point(
        [min(255, value + int(add)) if value < 128 else value for value in range(256)] * len(image.getbands())
    )


@dataclass(frozen=True)
class Operation:
    """A change to an image, and what a magnitude from 0 to 10 means for it.

    Args:
        change: Takes the image, the argument and what draws.
        argument: Turns a magnitude, and what draws, into the argument.
    """

    change: Callable[[Image.Image, float, np.random.Generator], Image.Image]
    argument: Callable[[float, np.random.Generator], float]

    def apply(self, image: Image.Image, magnitude: float, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed as strongly as the magnitude says."""
        return self.change(image, self.argument(magnitude, rng), rng)


def _none(magnitude: float, rng: np.random.Generator) -> float:
    return 0.0


def _either_way(largest: float) -> Callable[[float, np.random.Generator], float]:
    def argument(magnitude: float, rng: np.random.Generator) -> float:
        return magnitude / 10 * largest * (-1 if rng.random() < 0.5 else 1)

    return argument


def _enhancing(magnitude: float, rng: np.random.Generator) -> float:
    """0.1 at 0, 1.9 at 10: the plain set, where 5 changes nothing."""
    return magnitude / 10 * 1.8 + 0.1


def _enhancing_more(magnitude: float, rng: np.random.Generator) -> float:
    """1 at 0, and either way from there: the increasing set."""
    return max(0.1, 1 + _either_way(0.9)(magnitude, rng))


def _rotate(image: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    return image.rotate(degrees, _resampling(rng), fillcolor=_fill(image))


def _color(image: Image.Image, factor: float, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


OPERATIONS: Mapping[str, Operation] = {
    "autocontrast": Operation(lambda image, _, __: ImageOps.autocontrast(image), _none),
    "equalize": Operation(lambda image, _, __: ImageOps.equalize(image), _none),
    "invert": Operation(lambda image, _, __: ImageOps.invert(image), _none),
    "rotate": Operation(_rotate, _either_way(30)),
    "posterize": Operation(
        lambda image, bits, _: ImageOps.posterize(image, int(bits)), lambda level, _: int(level / 10 * 4)
    ),
    "posterize_more": Operation(
        lambda image, bits, _: ImageOps.posterize(image, int(bits)), lambda level, _: 4 - int(level / 10 * 4)
    ),
    "solarize": Operation(
        lambda image, above, _: ImageOps.solarize(image, int(above)), lambda level, _: min(256, int(level / 10 * 256))
    ),
    "solarize_more": Operation(
        lambda image, above, _: ImageOps.solarize(image, int(above)),
        lambda level, _: 256 - min(256, int(level / 10 * 256)),
    ),
    "solarize_add": Operation(
        lambda image, add, _: _solarize_add(image, add), lambda level, _: min(128, int(level / 10 * 110))
    ),
    "color": Operation(_color, _enhancing),
    "color_more": Operation(_color, _enhancing_more),
    "contrast": Operation(lambda image, factor, _: ImageEnhance.Contrast(image).enhance(factor), _enhancing),
    "contrast_more": Operation(lambda image, factor, _: ImageEnhance.Contrast(image).enhance(factor), _enhancing_more),
    "brightness": Operation(lambda image, factor, _: ImageEnhance.Brightness(image).enhance(factor), _enhancing),
    "brightness_more": Operation(
        lambda image, factor, _: ImageEnhance.Brightness(image).enhance(factor), _enhancing_more
    ),
    "sharpness": Operation(lambda image, factor, _: ImageEnhance.Sharpness(image).enhance(factor), _enhancing),
    "sharpness_more": Operation(
        lambda image, factor, _: ImageEnhance.Sharpness(image).enhance(factor), _enhancing_more
    ),
    "shear_x": Operation(lambda image, by, rng: _affine(image, (1, by, 0, 0, 1, 0), rng), _either_way(0.3)),
    "shear_y": Operation(lambda image, by, rng: _affine(image, (1, 0, 0, by, 1, 0), rng), _either_way(0.3)),
    "translate_x": Operation(
        lambda image, share, rng: _affine(image, (1, 0, share * image.size[0], 0, 1, 0), rng), _either_way(0.45)
    ),
    "translate_y": Operation(
        lambda image, share, rng: _affine(image, (1, 0, 0, 0, 1, share * image.size[1]), rng), _either_way(0.45)
    ),
}
"""Every change by name; with `_more`, a larger magnitude always changes more."""

_PLAIN = (
    "autocontrast", "equalize", "invert", "rotate", "posterize", "solarize", "solarize_add", "color", "contrast",
    "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
_INCREASING = tuple(name + "_more" if name + "_more" in OPERATIONS else name for name in _PLAIN)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Some of fifteen changes, drawn for each image, each as strong as a magnitude drawn around a mean.

    Paper: Cubuk et al. 2019, arXiv 1909.13719. The changes, their strengths and the words are timm's.

    Args:
        magnitude: Mean strength, from 0 to 10.
        magnitude_std: Standard deviation of the strength; infinite for uniform from 0 to `magnitude`.
        highest: Largest strength that a draw is cut to.
        num_operations: Changes drawn an image, with replacement.
        rate: Probability of each that it is applied.
        increasing: Whether a larger strength always means more change.
    """

    magnitude: float = 10.0
    magnitude_std: float = 0.0
    highest: float = _HIGHEST
    num_operations: int = 2
    rate: float = 0.5
    increasing: bool = False

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed; everything drawn comes from `rng`."""
        names = _INCREASING if self.increasing else _PLAIN
        for chosen in rng.integers(0, len(names), self.num_operations).tolist():
            if rng.random() < self.rate:
                image = OPERATIONS[names[chosen]].apply(image, self._strength(rng), rng)
        return image

    def _strength(self, rng: np.random.Generator) -> float:
        if math.isinf(self.magnitude_std):
            drawn = rng.uniform(0, self.magnitude)
        else:
            drawn = rng.normal(self.magnitude, self.magnitude_std) if self.magnitude_std else self.magnitude
        return float(min(max(drawn, 0.0), self.highest))


@dataclass(frozen=True, kw_only=True)
class ThreeAugment:
    """One of grey, solarized and blurred, then a change of brightness, contrast and saturation in random order.

    Paper: Touvron et al. 2022, DeiT III, arXiv 2204.07118, section 3.

    Args:
        jitter: Largest change of each of the three, either way from 1.
    """

    jitter: float = 0.3

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed; everything drawn comes from `rng`."""
        kind = int(rng.integers(0, 3))
        if kind == 0:
            image = ImageOps.grayscale(image).convert(image.mode)
        elif kind == 1:
            image = ImageOps.solarize(image, 128)
        else:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.1, 2.0))))
        if self.jitter:
            enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
            for chosen in rng.permutation(3).tolist():
                image = enhancers[chosen](image).enhance(float(rng.uniform(1 - self.jitter, 1 + self.jitter)))
        return image


@dataclass(frozen=True)
class Single:
    """One change, applied to a fraction of the images at full strength.

    Args:
        name: A key of `OPERATIONS`.
        rate: The fraction.
    """

    name: str
    rate: float = 1.0

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed or as it is; everything drawn comes from `rng`."""
        return OPERATIONS[self.name].apply(image, _HIGHEST, rng) if rng.random() < self.rate else image


@functools.cache
def policy_of(name: str) -> Policy:
    """Returns the policy of a name.

    Args:
        name: "rand" with timm's words, as `rand-m9-mstd0.5-inc1`: `m` magnitude, `n` changes an image, `p` probability of each,
            `mstd` deviation (100 and over: uniform), `mmax` largest, `inc1` increasing; "3-augment", or `3-augment-j0.3` with its
            jitter; or a key of `OPERATIONS`, as `autocontrast-p0.5`.

    Raises:
        InvalidArgumentError: There is no such policy.

    Example:
        >>> policy_of("rand-m9-mstd0.5-inc1").num_operations
        2
    """
    word = str(name)
    if word.split("-")[0] == "rand":
        return _rand_augment(word)
    match = re.fullmatch(rf"{_THREE_AUGMENT}(?:-j(\d*\.?\d+))?", word)
    if match and float(match[1] or 0) <= 1:
        return ThreeAugment() if match[1] is None else ThreeAugment(jitter=float(match[1]))
    match = re.fullmatch(r"([a-z_]+)(?:-p(\d*\.?\d+))?", word)
    if match and match[1] in OPERATIONS and float(match[2] or 1) <= 1:
        return Single(match[1]) if match[2] is None else Single(match[1], float(match[2]))
    raise InvalidArgumentError(
        f"There is no policy {name!r}: expected RandAugment as rand-m9-mstd0.5-inc1, {_THREE_AUGMENT}, or one of "
        f"{', '.join(OPERATIONS)}, with -p0.5 for half of the images."
    )


def _rand_augment(name: str) -> RandAugment:
    values: dict[str, float] = {}
    for part in name.split("-")[1:]:
        match = re.fullmatch(r"(mstd|mmax|inc|m|n|p)(\d*\.?\d+|inf)", part)
        if match is None or match[1] in values:
            raise InvalidArgumentError(
                f"{name!r}: {part!r} says nothing, or twice; after rand come m, n, p, mstd, mmax and inc with a number each, as "
                "rand-m9-mstd0.5-inc1."
            )
        values[match[1]] = float(match[2])
    deviation = values.get("mstd", 0.0)
    policy = RandAugment(
        magnitude=values.get("m", 10.0),
        magnitude_std=math.inf if deviation >= 100 else deviation,
        highest=values.get("mmax", _HIGHEST),
        num_operations=int(values.get("n", 2)),
        rate=values.get("p", 0.5),
        increasing=bool(values.get("inc", 0)),
    )
    if (
        not 0 <= policy.rate <= 1
        or not 1 <= policy.num_operations <= 20
        or not math.isfinite(policy.magnitude + policy.highest)
    ):
        raise InvalidArgumentError(f"{name!r}: p is from 0 to 1, n from 1 to 20, and m and mmax are finite.")
    return policy
