"""Recognizes the pixel range of arrays and scales them to 0..255: one decision for all splits of a source."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vit_keras.data.dataset.mapped_images import scale_pixels
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.reporting.text import plural
from vit_keras.validation import is_number

PixelRange = tuple[float, float]
BYTES: PixelRange = (0.0, 255.0)
UNIT: PixelRange = (0.0, 1.0)
# Bicubic and Lanczos resizing overshoot the range next to sharp edges, at a corner by about a quarter of the range; in small images
# of nothing but edges, 0.3 of the values do.
_OVERSHOOT, _OVERSHOOTING = 0.3, 0.4  # fraction of the range; fraction of the values
_DIM = 16.0  # fractional values that stay below this are not clearly 0..255
_FAINT = 0.01  # fraction of the images
_AT_ONCE = 64  # images, to limit memory


def check_range(pixel_range: object) -> PixelRange | None:
    """Returns the values of black and white, or None for "auto"; raises `InvalidArgumentError` for anything else."""
    if isinstance(pixel_range, str) and pixel_range == "auto":
        return None
    if (
        not isinstance(pixel_range, tuple | list)
        or len(pixel_range) != 2
        or not all(is_number(end) for end in pixel_range)
        or not pixel_range[0] < pixel_range[1]
    ):
        raise InvalidArgumentError(
            f'pixel_range={pixel_range!r}: expected "auto", or the values of black and white, such as (0, 255), (0, 1) or (-1, 1).'
        )
    return (float(pixel_range[0]), float(pixel_range[1]))


def format_range(pixel_range: PixelRange) -> str:
    """Returns a range for messages, such as 0..255."""
    return f"{pixel_range[0]:g}..{pixel_range[1]:g}"


@dataclass
class Tally:
    """Statistics of the pixels of one split, whose range the user may have stated."""

    stated: PixelRange | None = None
    dtypes: set[str] = field(default_factory=set)
    count: int = 0  # values
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True  # no value has a fraction
    outside: dict[PixelRange, int] = field(default_factory=dict)  # values outside each possible range
    images: int = 0
    faint: int = 0  # images with fractions whose brightest value is about 1

    def add(self, name: str, images: np.ndarray) -> None:
        """Adds images of any numeric type, named `name` in messages; raises `DataError` if a pixel is NaN or infinite."""
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
            count = plural(int((~finite).sum()), "NaN or infinite pixel")
            raise DataError(
                f"{name}: {count}, the first in image {image}; replace them, for example with np.nan_to_num."
            )
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
        """Whether some pixels are floating-point numbers."""
        return any("float" in dtype for dtype in self.dtypes)

    @property
    def described(self) -> str:
        """Minimum, maximum and dtypes, for messages."""
        dtypes = ", ".join(sorted(self.dtypes))
        return (
            f"pixels range from {self.low:.9g} to {self.high:.9g} ({dtypes})" if self.count else f"pixels are {dtypes}"
        )

    def fits(self, pixel_range: PixelRange) -> bool:
        """Whether the pixels are in UNIT, BYTES or the stated range, apart from the overshoot of resized floats."""
        outside = self.outside.get(pixel_range, 0)
        slack = _OVERSHOOT * (pixel_range[1] - pixel_range[0]) if self.is_float else 0.0
        return outside <= _OVERSHOOTING * self.count and not (
            self.low < pixel_range[0] - slack or self.high > pixel_range[1] + slack
        )

    def recognize(self, name: str) -> PixelRange | None:
        """Returns the range of the split `name`, None if all pixels are black; raises `DataError` if it is unclear."""
        if not self.count:
            return BYTES  # uint8
        if self.low == self.high == 0:
            return None
        if self.is_float and self.fits(UNIT):
            return UNIT
        reason = self._doubt()
        if reason:
            raise DataError(f"{name}: {self.described}: {reason}")
        return BYTES

    def _doubt(self) -> str:
        """Returns why pixels that are not 0..1 are not clearly 0..255 either, and how to fix it; "" if they are."""
        state = "pass pixel_range="
        if not self.is_float and self.low >= 0 and self.high > 255:
            return f"more than 8 bits; {state}(0, 65535) for 16 bits or (0, 4095) for 12."
        if not self.fits(BYTES) and self.low < 0:
            return (
                f"expected 0..255 or 0..1; {state}(-1, 1) if that is their range, or undo a normalization by mean and standard "
                "deviation, which the model does itself."
            )
        if not self.fits(BYTES):
            return f"expected 0..255 or 0..1; check the values outside, and {state}(0, 255) or (0, 1)."
        if self.high <= 1 or (not self.whole and self.high < _DIM):
            return f"this may be 0..1 or very dark 0..255; {state}(0, 1) or (0, 255)."
        if self.faint > _FAINT * self.images:
            return (
                f"{self.faint} of {self.images} images have no pixel above 1, unlike the others; scale all images alike, or {state}(0, 255) "
                "if they are dark."
            )
        return ""


class PixelScale:
    """Scales the pixels of all splits of a source to 0..255 by the same rule."""

    def __init__(self, pixel_range: Any = "auto") -> None:
        self.stated = check_range(pixel_range)
        self._tallies: dict[str, Tally] = {}
        self._decided: PixelRange | None = None

    def look(self, split: str, images: np.ndarray, name: str = "") -> None:
        """Takes images of a split into account; the last `decide` comes after all images of all splits."""
        self._tallies.setdefault(split, Tally(self.stated)).add(name or split, images)

    def decide(self) -> PixelRange:
        """Returns the range of all images so far; raises `DataError` if it is unclear, or differs between splits or calls."""
        found = self.stated or self._recognize()
        for name, tally in self._tallies.items():
            if self.stated and tally.count and not tally.fits(found):
                raise DataError(
                    f"{name}: {tally.described}, which does not fit pixel_range=({found[0]:g}, {found[1]:g})."
                )
        if self._decided not in (None, found):
            raise DataError(
                f"The first images have the pixel range {format_range(self._decided or found)}, but all images together "
                f"{format_range(found)}: scale all images alike, or pass pixel_range=(0, 255)."
            )
        self._decided = found
        return found

    def _recognize(self) -> PixelRange:
        found = {name: tally.recognize(name) for name, tally in self._tallies.items()}
        different = {each for each in found.values() if each is not None}
        if len(different) > 1:
            listed = "; ".join(f"{name}: {self._tallies[name].described}" for name in found)
            raise DataError(
                f"The splits have different pixel ranges ({listed}): scale all alike, or pass the pixel_range= of all of them."
            )
        return different.pop() if different else BYTES

    @property
    def decisions(self) -> tuple[str, ...]:
        """A sentence on the decision; none for uint8, which is always 0..255."""
        seen = [tally for tally in self._tallies.values() if tally.count]
        if self._decided is None or not seen:
            return ()
        low, high = min(tally.low for tally in seen), max(tally.high for tally in seen)
        dtypes = ", ".join(sorted({dtype for tally in seen for dtype in tally.dtypes}))
        outside = sum(tally.outside.get(self._decided, 0) for tally in seen)
        scaled = ", scaled to 0..255" if self._decided != BYTES else ""
        clipped = f"; {plural(outside, 'value')} outside clipped" if outside else ""
        stated = " (given as pixel_range)" if self.stated else ""
        return (
            f"{dtypes} pixels from {low:.9g} to {high:.9g} read as {format_range(self._decided)}{stated}{scaled}{clipped}",
        )

    @property
    def is_plain(self) -> bool:
        """Whether the pixels were 0..255 already, without any outside."""
        return self._decided in (None, BYTES) and not any(tally.outside.get(BYTES) for tally in self._tallies.values())

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Returns images scaled to uint8 by the decided range."""
        low, high = self._decided or BYTES
        if images.dtype == np.uint8 and (low, high) == BYTES:
            return images
        scaled = np.empty(images.shape, "uint8")
        for first in range(0, len(images), _AT_ONCE):
            scaled[first : first + _AT_ONCE] = scale_pixels(images[first : first + _AT_ONCE], (low, high))
        return scaled
