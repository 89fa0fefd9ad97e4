"""Policies: random changes to single images, in Pillow, as RandAugment and 3-Augment define them."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from vit_keras.data.augment.operations import OPERATIONS, PLAIN_OPERATIONS
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import closest, is_number

_HIGHEST = 10.0  # magnitude, unless a policy says otherwise


class Policy(Protocol):
    """What is done to an image in mode "RGB" or "L"."""

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed; everything drawn comes from `rng`."""


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Some of fifteen changes, drawn for each image, each as strong as a magnitude drawn around a mean.

    Paper: Cubuk et al. 2019, arXiv 1909.13719. The changes, their strengths and the names are timm's.

    Args:
        magnitude: Mean strength.
        magnitude_std: Standard deviation of the strength; infinite for uniform from 0 to `magnitude`.
        highest: Strength that a draw is cut to.
        num_operations: Changes drawn an image, with replacement.
        rate: Probability of each that it is applied.
        increasing: Whether a larger strength always means more change.

    Raises:
        InvalidArgumentError: One of them is out of range.
    """

    magnitude: float = 10.0
    magnitude_std: float = 0.0
    highest: float = _HIGHEST
    num_operations: int = 2
    rate: float = 0.5
    increasing: bool = False

    def __post_init__(self) -> None:
        _check_numbers(self)

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed; everything drawn comes from `rng`."""
        operations = _INCREASING if self.increasing else _PLAIN
        for index in rng.integers(0, len(operations), self.num_operations).tolist():
            if rng.random() < self.rate:
                image = operations[index].apply(image, self._strength(rng), rng)
        return image

    def _strength(self, rng: np.random.Generator) -> float:
        if self.magnitude_std == math.inf:
            drawn = rng.uniform(0, self.magnitude)
        else:
            drawn = rng.normal(self.magnitude, self.magnitude_std)
        return min(max(drawn, 0.0), self.highest)


_INCREASING, _PLAIN = tuple(OPERATIONS.values()), tuple(PLAIN_OPERATIONS.values())


@dataclass(frozen=True, kw_only=True)
class ThreeAugment:
    """The image grey, solarized or blurred; then brightness, contrast and saturation are changed, in random order.

    Paper: Touvron et al. 2022, DeiT III, arXiv 2204.07118, section 3.

    Args:
        jitter: Largest change of each of the three, either way from 1.

    Raises:
        InvalidArgumentError: The jitter is no fraction.
    """

    jitter: float = 0.3

    def __post_init__(self) -> None:
        _check_numbers(self)

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed; everything drawn comes from `rng`."""
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
    """One change, applied to a fraction of the images.

    Args:
        name: A key of `OPERATIONS`.
        magnitude: How strongly.
        rate: The fraction.

    Raises:
        InvalidArgumentError: One of the numbers is out of range.
    """

    name: str
    magnitude: float = 5.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        _check_numbers(self)

    def apply(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns the image changed or as it is; everything drawn comes from `rng`."""
        return OPERATIONS[self.name].apply(image, self.magnitude, rng) if rng.random() < self.rate else image


def _check_numbers(policy: RandAugment | ThreeAugment | SingleOperation) -> None:
    wrong = []
    for name, value in vars(policy).items():
        if name in ("rate", "jitter") and not (is_number(value) and 0 <= value <= 1):
            wrong.append(f"{name}={value!r} is not a number from 0 to 1")
        if name in ("magnitude", "highest") and not (is_number(value) and value >= 0):
            wrong.append(f"{name}={value!r} is not a number from 0 up")
        if name == "magnitude_std" and value != math.inf and not (is_number(value) and value >= 0):
            wrong.append(f"{name}={value!r} is neither infinite nor a number from 0 up")
        if name == "num_operations" and (type(value) is not int or value < 1):
            wrong.append(f"{name}={value!r} is not a positive whole number")
    if wrong:
        raise InvalidArgumentError(f"{type(policy).__name__} can't be made so: {'; '.join(wrong)}.")


def _deviation(text: str) -> float:
    return math.inf if float(text) > 100 else float(text)  # timm's rule


_RAND_AUGMENT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "m": ("magnitude", float),
    "n": ("num_operations", int),
    "p": ("rate", float),
    "mstd": ("magnitude_std", _deviation),
    "mmax": ("highest", float),
    "inc": ("increasing", lambda text: bool(int(text))),
}
_KINDS: dict[str, tuple[Callable[..., Policy], dict[str, tuple[str, Callable[[str], Any]]]]] = {
    "rand": (RandAugment, _RAND_AUGMENT),
    "3-augment": (ThreeAugment, {"j": ("jitter", float)}),
    **{
        name: (functools.partial(SingleOperation, name=name), {key: _RAND_AUGMENT[key] for key in ("m", "p")})
        for name in OPERATIONS
    },
}
"""What a name starts with: what it makes, and which field each key after it is."""


@functools.cache
def policy_of(name: str) -> Policy:
    """Returns the policy of a name.

    Args:
        name: "rand" with timm's keys, as `rand-m9-mstd0.5-inc1`: `m` magnitude, `n` changes an image, `p` probability of each,
            `mstd` deviation (over 100: uniform), `mmax` highest, `inc1` increasing; "3-augment", its jitter after `j`; or a key of
            `OPERATIONS`, its magnitude after `m` and its probability after `p`, as `autocontrast-p0.5`.

    Raises:
        InvalidArgumentError: There is no such policy.

    Example:
        >>> policy_of("rand-m9-mstd0.5-inc1").num_operations
        2
    """
    kind = next((kind for kind in _KINDS if f"{name}-".startswith(f"{kind}-")), None)
    if kind is None:
        raise InvalidArgumentError(
            f"There is no policy {name!r}: expected rand-m9-mstd0.5-inc1, 3-augment or a single change as autocontrast-p0.5; "
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
                f"There is no policy {name!r}: {part!r} is none of {', '.join(keys)} with a number, each once."
            ) from error
    return make(**values)
