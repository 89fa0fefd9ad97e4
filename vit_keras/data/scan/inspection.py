"""Inspects one image file: its format, size and statistics, or why it can't be used. Imports neither Keras nor TensorFlow."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image, ImageStat

from vit_keras.data.images.decode import Picture, read_bytes
from vit_keras.data.images.signatures import SUFFIXES
from vit_keras.errors import DataError, VitKerasError

SIXTEEN_BITS = "16 bits per channel, converted to 8"
_SMALL = 128  # px, enough for statistics and the perceptual hash


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Requirements of a usable image."""

    min_side: int = 8
    max_aspect: float = 20.0
    pixel_range: list[float] | None = None  # black and white of gray images with more than 8 bits


def inspect(
    path: Path, limits: Limits, *, offset: int = 0, length: int | None = None, name: str | None = None
) -> dict[str, Any]:
    """Decodes an image file, or the part of a shard with this offset, length and name, and describes it in a row for JSON.

    The row has a `reason` if the image can't be used.

    Units: `size` bytes; `width` and `height` px, upright; `brightness` and `contrast` mean and standard deviation of the luma,
    0..255; `shadow` and `highlight` its 5th and 99th percentile; `entropy` bits.
    """
    row: dict[str, Any] = {}
    try:
        status = os.stat(path)
        row = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        content = read_bytes(path, offset=offset, length=length)
        image_path = path if name is None else Path(name)
        picture = Picture(content, image_path)
        _check(picture, limits)
        low_high = limits.pixel_range
        image = picture.decode(pixel_range=None if low_high is None else (low_high[0], low_high[1]))
        return row | {"sha256": hashlib.sha256(content).hexdigest()} | _describe(picture, image, image_path)
    except VitKerasError as error:
        return row | {"reason": str(error).removeprefix(f"{path}: ").removeprefix(f"{name}: ")}
    except OSError as error:
        return row | {"reason": f"could not be read ({error.strerror or error})"}
    except MemoryError:
        return row | {"reason": "there is not enough memory to decode it"}


def _check(picture: Picture, limits: Limits) -> None:
    width, height = picture.size
    if min(width, height) < limits.min_side:
        raise DataError(
            f"{picture.name}: {width}x{height} px; the shorter side must have at least {limits.min_side} px (min_side)."
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise DataError(
            f"{picture.name}: {width}x{height} px; the longer side may be at most {limits.max_aspect:g} times the shorter (max_aspect)."
        )


def _describe(picture: Picture, image: Image.Image, path: Path) -> dict[str, Any]:
    image.thumbnail((_SMALL, _SMALL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    luma = image.convert("L")
    statistics = ImageStat.Stat(luma)
    shadow, highlight = np.percentile(np.asarray(luma), (5, 99))
    return {
        "format": picture.format,
        "mode": picture.mode,
        "width": picture.size[0],
        "height": picture.size[1],
        "orientation": picture.orientation,
        "phash": str(imagehash.phash(luma)),
        "brightness": round(statistics.mean[0], 2),
        "contrast": round(statistics.stddev[0], 2),
        "shadow": round(float(shadow), 2),
        "highlight": round(float(highlight), 2),
        "entropy": round(abs(luma.entropy()), 3),
        "notes": _take_notes(picture, path),
    }


def _take_notes(picture: Picture, path: Path) -> list[str]:
    notes = []
    if path.suffix.lower() not in ("", *SUFFIXES[picture.format]):
        notes.append(f"{picture.format} with the file name suffix of another format")
    if picture.animated:
        several = "several pages, of which the first is used"
        notes.append(several if picture.format == "TIFF" else "animation, of which the first frame is used")
    if picture.orientation != 1:
        notes.append("rotated upright (Exif)")
    if picture.mode.startswith("I"):
        notes.append(SIXTEEN_BITS)
    if picture.mode == "F":
        notes.append("floating-point pixels, converted to 8 bits")
    if picture.mode == "CMYK":
        notes.append("CMYK, converted to RGB")
    if picture.mode in ("RGBA", "LA", "PA") or picture.transparent:
        notes.append("transparent, put on white")
    return notes
