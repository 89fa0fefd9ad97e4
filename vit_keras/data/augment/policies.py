"""Augmentation policies for single images, in Pillow: RandAugment, 3-Augment, and single operations."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from vit_keras.data.augment.operations import OPERATIONS, PLAIN_OPERATIONS
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import closest, is_number

if TYPE_CHECKING:
    import numpy as np

_INCREASING, _PLAIN = tuple(OPERATIONS.values()), tuple(PLAIN_OPERATIONS.values())


class Policy(Protocol):
    """A random change to an image in mode "RGB" or "L"; all random draws come from `rng`."""

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the changed image."""


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Applies operations drawn from fifteen with replacement, each with a magnitude drawn around a mean.

    Paper: Cubuk et al. 2019, arXiv 1909.13719. The operations, magnitudes and option names are timm's.
    """

    magnitude: float = 10.0  # mean
    magnitude_std: float = 0.0  # standard deviation; infinite for uniform from 0 to `magnitude`
    highest: float = 10.0  # larger magnitudes are clipped
    num_operations: int = 2  # drawn per image
    rate: float = 0.5  # probability that a drawn operation is applied
    increasing: bool = False  # whether a larger magnitude always means more change

    def __post_init__(self) -> None:
        _check_numbers(self)

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the changed image; all random draws come from `rng`."""
        operations = _INCREASING if self.increasing else _PLAIN
        for index in rng.integers(0, len(operations), self.num_operations).tolist():
            if rng.random() < self.rate:
                image = operations[index].apply(image, self._draw_magnitude(rng), rng)
        return image

    def _draw_magnitude(self, rng: np.random.Generator) -> float:
        if self.magnitude_std == math.inf:
            magnitude = rng.uniform(0, self.magnitude)
        else:
            magnitude = rng.normal(self.magnitude, self.magnitude_std)
        return min(max(magnitude, 0.0), self.highest)


@dataclass(frozen=True, kw_only=True)
class ThreeAugment:
    """Turns an image gray, solarizes or blurs it; then jitters brightness, contrast and saturation in random order.

    Paper: Touvron et al. 2022, DeiT III, arXiv 2204.07118, section 3.
    """

    jitter: float = 0.3  # maximum change of each factor from 1, up or down

    def __post_init__(self) -> None:
        _check_numbers(self)

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the changed image; all random draws come from `rng`."""
        image = _THREE[int(rng.integers(0, 3))](image, rng)
        for index in rng.permutation(3).tolist() if self.jitter else ():
            image = _JITTERED[index](image).enhance(rng.uniform(1 - self.jitter, 1 + self.jitter))
        return image


_THREE: tuple[Callable[[Image.Image, np.random.Generator], Image.Image], ...] = (
    lambda image, rng: ImageOps.grayscale(image).convert(image.mode),
    lambda image, rng: ImageOps.solarize(image, 128),
    lambda image, rng: image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0))),
)
_JITTERED = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True, kw_only=True)
class SingleOperation:
    """Applies one operation to a fraction of the images."""

    name: str
    magnitude: float = 5.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        _check_numbers(self)

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the changed image; all random draws come from `rng`."""
        return OPERATIONS[self.name].apply(image, self.magnitude, rng) if rng.random() < self.rate else image


def _check_numbers(policy: RandAugment | ThreeAugment | SingleOperation) -> None:
    wrong = []
    for name, value in vars(policy).items():
        if name in ("rate", "jitter") and not (is_number(value) and 0 <= value <= 1):
            wrong.append(f"{name}={value!r} is not a number from 0 to 1")
        if name in ("magnitude", "highest") and not (is_number(value) and value >= 0):
            wrong.append(f"{name}={value!r} is not a number of at least 0")
        if name == "magnitude_std" and value != math.inf and not (is_number(value) and value >= 0):
            wrong.append(f"{name}={value!r} is neither infinite nor a number of at least 0")
        if name == "num_operations" and (type(value) is not int or value < 1):
            wrong.append(f"{name}={value!r} is not a positive integer")
    if wrong:
        raise InvalidArgumentError(f"{type(policy).__name__}: {'; '.join(wrong)}.")


_RAND_AUGMENT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "m": ("magnitude", float),
    "n": ("num_operations", int),
    "p": ("rate", float),
    "mstd": ("magnitude_std", lambda text: math.inf if float(text) > 100 else float(text)),  # timm's rule
    "mmax": ("highest", float),
    "inc": ("increasing", lambda text: bool(int(text))),
}
# What the start of a name makes, and the field of each key that may follow.
_KINDS: dict[str, tuple[Callable[..., Policy], dict[str, tuple[str, Callable[[str], Any]]]]] = {
    "rand": (RandAugment, _RAND_AUGMENT),
    "3-augment": (ThreeAugment, {"j": ("jitter", float)}),
    **{
        name: (functools.partial(SingleOperation, name=name), {key: _RAND_AUGMENT[key] for key in ("m", "p")})
        for name in OPERATIONS
    },
}


@functools.cache
def parse_policy(name: str) -> Policy:
    """Returns the policy of a name; raises `InvalidArgumentError` if there is none.

    "rand" takes timm's keys, as in `rand-m9-mstd0.5-inc1`: `m` magnitude, `n` operations per image, `p` probability of each, `mstd`
    standard deviation (over 100: uniform), `mmax` maximum, `inc1` increasing. "3-augment" takes its jitter after `j`. A key of
    `OPERATIONS` takes its magnitude after `m` and its probability after `p`: `autocontrast-p0.5`.
    """
    kind = next((kind for kind in _KINDS if f"{name}-".startswith(f"{kind}-")), None)
    if kind is None:
        raise InvalidArgumentError(
            f"There is no policy {name!r}: expected a name such as rand-m9-mstd0.5-inc1, 3-augment or autocontrast-p0.5; "
            f"the closest are {', '.join(closest(str(name), _KINDS)) or ', '.join(_KINDS)}."
        )
    make, keys = _KINDS[kind]
    values: dict[str, Any] = {}
    for part in name.removeprefix(kind).split("-")[1:]:
        key = part.rstrip(".0123456789")
        try:
            field, convert = keys[key]
            if field in values:
                raise ValueError
            values[field] = convert(part.removeprefix(key))
        except (KeyError, ValueError) as error:
            raise InvalidArgumentError(
                f"There is no policy {name!r}: {part!r} is not one of {', '.join(keys)} with a number, each at most once."
            ) from error
    return make(**values)
