"""Recognizes what range the pixels of arrays have, and scales them to 0..255: one decision for a whole source."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.validation import is_number

PixelRange = tuple[float, float]
BYTES: PixelRange = (0.0, 255.0)
UNIT: PixelRange = (0.0, 1.0)
_OVERSHOOT = (
    0.3  # of the range; bicubic and Lanczos resizing exceed it beside sharp edges, in a corner by about a quarter
)
_OVERSHOOTING = 0.4  # fraction of the values; in small images of edges alone it is 0.3
_DIM = 16.0  # fractional values that stay below this are no clear 0..255
_FAINT = 0.01  # fraction of the images
_AT_ONCE = 64  # images, so that little memory is needed


def checked_range(pixel_range: object) -> PixelRange | None:
    """Returns a range as the caller stated it; None for "auto".

    Args:
        pixel_range: "auto", or the values that stand for black and for white.

    Raises:
        InvalidArgumentError: It is neither.
    """
    if isinstance(pixel_range, str) and pixel_range == "auto":
        return None
    if (
        not isinstance(pixel_range, tuple | list)
        or len(pixel_range) != 2
        or not all(is_number(end) for end in pixel_range)
        or not pixel_range[0] < pixel_range[1]
    ):
        raise InvalidArgumentError(
            f'pixel_range={pixel_range!r}: expected "auto", or the values of black and of white, as (0, 255), (0, 1) or (-1, 1).'
        )
    return (float(pixel_range[0]), float(pixel_range[1]))


def in_words(pixel_range: PixelRange) -> str:
    """Returns a range as messages write it.

    Args:
        pixel_range: The values of black and of white.

    Example:
        >>> in_words((0.0, 255.0))
        '0..255'
    """
    return f"{pixel_range[0]:g}..{pixel_range[1]:g}"


@dataclass
class Tally:
    """What was seen of the pixels of one split.

    Args:
        stated: The range that the caller stated, if one was.
    """

    stated: PixelRange | None = None
    dtypes: set[str] = field(default_factory=set)
    count: int = 0  # values that were looked at
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True  # no value has a fraction
    outside: dict[PixelRange, int] = field(default_factory=dict)  # values below or above each range in question
    images: int = 0
    faint: int = 0  # images with fractions whose brightest value is about 1

    def add(self, name: str, images: np.ndarray) -> None:
        """Looks at images.

        Args:
            name: What messages call them.
            images: `(count, height, width, channels)`, any type of numbers.

        Raises:
            DataError: A pixel is NaN or infinite.
        """
        self.dtypes.add(images.dtype.name)
        if not images.size or (images.dtype == np.uint8 and self.stated in (None, BYTES)):
            return
        for first in range(0, len(images), _AT_ONCE):
            self._add(name, images[first : first + _AT_ONCE], first)

    def _add(self, name: str, images: np.ndarray, first: int) -> None:
        rows = images.reshape(len(images), -1)
        finite = np.isfinite(rows)
        if not finite.all():
            image = first + int(np.argmin(finite.all(axis=1)))
            raise DataError(f"{name}: {int((~finite).sum())} pixels are NaN or infinite, the first in image {image}.")
        self.count += rows.size
        self.low, self.high = min(self.low, float(rows.min())), max(self.high, float(rows.max()))
        for each in (UNIT, BYTES) if self.stated is None else (self.stated,):
            self.outside[each] = self.outside.get(each, 0) + int(((rows < each[0]) | (rows > each[1])).sum())
        fractions = (rows != np.round(rows)).any(axis=1) if rows.dtype.kind == "f" else np.zeros(len(rows), bool)
        self.whole = self.whole and not fractions.any()
        self.images += len(rows)
        self.faint += int((fractions & (rows.max(axis=1) <= 1 + _OVERSHOOT)).sum())

    @property
    def is_float(self) -> bool:
        """Whether some of the pixels are of a floating-point type."""
        return any("float" in dtype for dtype in self.dtypes)

    @property
    def is_black(self) -> bool:
        """Whether every pixel is zero, which is black in 0..1 and in 0..255."""
        return self.count > 0 and self.low == self.high == 0

    @property
    def described(self) -> str:
        """What was seen, in words."""
        dtypes = ", ".join(sorted(self.dtypes))
        return f"pixels run from {self.low:.9g} to {self.high:.9g} ({dtypes})" if self.count else f"pixels are {dtypes}"

    def fits(self, pixel_range: PixelRange) -> bool:
        """Returns whether the pixels are of a range, but for what resizing adds beside edges where they are floats.

        Args:
            pixel_range: UNIT or BYTES, or what was stated.
        """
        outside = self.outside.get(pixel_range, 0)
        slack = _OVERSHOOT * (pixel_range[1] - pixel_range[0]) if self.is_float else 0.0
        return outside <= _OVERSHOOTING * self.count and not (
            self.low < pixel_range[0] - slack or self.high > pixel_range[1] + slack
        )

    def recognized(self, name: str) -> PixelRange | None:
        """Returns the range that the pixels clearly have; None where all are black, which fits every one.

        Args:
            name: What messages call the split.

        Raises:
            DataError: It is not clear.
        """
        if not self.count:
            return BYTES  # uint8
        if self.is_black:
            return None
        if self.is_float and self.fits(UNIT):
            return UNIT
        reason = self._doubt()
        if reason:
            raise DataError(f"{name}: {self.described}: {reason}")
        return BYTES

    def _doubt(self) -> str:
        """Returns why pixels that are not 0..1 are no clear 0..255 either, and what to do; nothing where they are."""
        state = "say what black and white are, as pixel_range="
        if not self.is_float and self.low >= 0 and self.high > 255:
            return f"that is more than 8 bits; {state}(0, 65535) for 16 bits or (0, 4095) for 12."
        if not self.fits(BYTES) and self.low < 0:
            return (
                f"expected from 0 to 255 or from 0 to 1; {state}(-1, 1) if they run from -1 to 1; undo a normalization by mean and "
                "standard deviation, which the model does itself."
            )
        if not self.fits(BYTES):
            return f"expected from 0 to 255 or from 0 to 1; {state}(0, 255) or (0, 1), and look at what is outside."
        if self.high <= 1 or (not self.whole and self.high < _DIM):
            return f"that may be 0..1 or very dark 0..255; {state}(0, 1) or (0, 255)."
        if self.faint > _FAINT * self.images:
            return (
                f"{self.faint} of {self.images} images have no pixel above 1, the others do; if they are scaled to 0..1, scale all "
                f"alike; else {state}(0, 255)."
            )
        return ""


class PixelScale:
    """Scales the pixels of one source to 0..255: train, validation and test by the same rule.

    Args:
        pixel_range: "auto", or the values of black and of white.

    Raises:
        InvalidArgumentError: It is neither.
    """

    def __init__(self, pixel_range: Any = "auto") -> None:
        self.stated = checked_range(pixel_range)
        self._tallies: dict[str, Tally] = {}
        self._decided: PixelRange | None = None

    def look(self, split: str, images: np.ndarray, name: str = "") -> None:
        """Takes images into account; call it for all of a source before the last `decide`.

        Args:
            split: The split they belong to.
            images: `(count, height, width, channels)`.
            name: What messages call them; by default the split.

        Raises:
            DataError: A pixel is NaN or infinite.
        """
        self._tallies.setdefault(split, Tally(self.stated)).add(name or split, images)

    def decide(self) -> PixelRange:
        """Returns the range of all that was looked at.

        Raises:
            DataError: It is not clear, not the same everywhere, not what was stated, or not what was decided before.
        """
        found = self._checked_statement() if self.stated else self._recognized()
        if self._decided not in (None, found):
            raise DataError(
                f"The first images were read as pixels {in_words(self._decided or found)}, and with all images they are "
                f"{in_words(found)}: say what black and white are, as pixel_range=(0, 255)."
            )
        self._decided = found
        return found

    def _checked_statement(self) -> PixelRange:
        stated = self.stated or BYTES
        for name, tally in self._tallies.items():
            if tally.count and not tally.fits(stated):
                raise DataError(
                    f"{name}: {tally.described}, which does not fit pixel_range=({stated[0]:g}, {stated[1]:g})."
                )
        return stated

    def _recognized(self) -> PixelRange:
        found = {name: tally.recognized(name) for name, tally in self._tallies.items()}
        different = {each for each in found.values() if each is not None}
        if len(different) > 1:
            listed = "; ".join(f"{name}: {self._tallies[name].described}" for name in found)
            raise DataError(
                f"The splits would be read in different ways ({listed}): scale all alike, or say what black and white are in all "
                "of them with pixel_range=."
            )
        return different.pop() if different else BYTES

    @property
    def decisions(self) -> tuple[str, ...]:
        """What was decided, in words; nothing for uint8, which is always 0..255."""
        seen = [tally for tally in self._tallies.values() if tally.count]
        if self._decided is None or not seen:
            return ()
        low, high = min(tally.low for tally in seen), max(tally.high for tally in seen)
        dtypes = ", ".join(sorted({dtype for tally in seen for dtype in tally.dtypes}))
        outside = sum(tally.outside.get(self._decided, 0) for tally in seen)
        scaled = ", scaled to 0..255" if self._decided != BYTES else ""
        clipped = f"; {outside:,} values outside were clipped" if outside else ""
        said = ", as pixel_range says" if self.stated else ""
        return (
            f"{dtypes} pixels from {low:.9g} to {high:.9g} read as {in_words(self._decided)}{said}{scaled}{clipped}",
        )

    @property
    def is_plain(self) -> bool:
        """Whether the pixels were 0..255 already."""
        return self._decided in (None, BYTES) and not any(tally.outside.get(BYTES) for tally in self._tallies.values())

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Returns images as uint8 by what was decided.

        Args:
            images: `(count, height, width, channels)`.
        """
        low, high = self._decided or BYTES
        if images.dtype == np.uint8 and (low, high) == BYTES:
            return images
        scaled = np.empty(images.shape, "uint8")
        for first in range(0, len(images), _AT_ONCE):
            part = images[first : first + _AT_ONCE].astype("float64")
            scaled[first : first + _AT_ONCE] = np.round((part - low) * (255 / (high - low))).clip(0, 255)
        return scaled
