"""Looks at one image file: what it is, and whether it can be used. Imports neither Keras nor TensorFlow."""

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

SIXTEEN_BITS = "16 bits a channel: brought to 8"
_SMALL = 128  # px, enough to judge light and detail


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an image must be to be used.

    Args:
        min_side: Shortest side, px.
        max_aspect: Largest ratio of the sides.
    """

    min_side: int = 8
    max_aspect: float = 20.0


def inspect(path: Path, limits: Limits) -> dict[str, Any]:
    """Returns what an image file is, after decoding all of it.

    Args:
        path: The file.
        limits: What it must be.

    Returns:
        A row as JSON can hold it. Of a usable file: `size` (bytes), `mtime_ns`, `sha256`, `format`, `mode`, `width`, `height`
        (px, upright), `orientation` (Exif's), `phash` (perceptual hash, 16 hexadecimal digits), `brightness` and `contrast`
        (mean and deviation of the luma, 0..255), `shadow` and `highlight` (its 5th and 99th percentile), `entropy` (bits),
        `notes`. Of another: `reason`, and `size` and `mtime_ns` where they could be read.
    """
    row: dict[str, Any] = {}
    try:
        status = os.stat(path)
        row = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        content = read_bytes(path)
        picture = Picture(content, path)
        _check(picture, limits)
        image = picture.decode()
        return row | {"sha256": hashlib.sha256(content).hexdigest()} | _described(picture, image, path)
    except VitKerasError as error:
        return row | {"reason": str(error).removeprefix(f"{path}: ")}
    except OSError as error:
        return row | {"reason": f"could not be read ({error.strerror or error})"}
    except MemoryError:
        return row | {"reason": "decoding it takes more memory than there is"}


def _check(picture: Picture, limits: Limits) -> None:
    width, height = picture.size
    if min(width, height) < limits.min_side:
        raise DataError(
            f"{picture.name}: {width}x{height} px; the shorter side must have {limits.min_side} px or more."
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise DataError(
            f"{picture.name}: {width}x{height} px; the longer side may be {limits.max_aspect:g} times the shorter at most."
        )


def _described(picture: Picture, image: Image.Image, path: Path) -> dict[str, Any]:
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
        "notes": _notes(picture, path),
    }


def _notes(picture: Picture, path: Path) -> list[str]:
    """Returns what a person may want to know of a file that is used all the same."""
    notes = []
    if path.suffix.lower() not in ("", *SUFFIXES[picture.format]):
        notes.append(f"is {picture.format}, whatever its name says")
    if picture.animated:
        notes.append("animation: the first frame")
    if picture.orientation != 1:
        notes.append("turned upright")
    if picture.mode.startswith("I"):
        notes.append(SIXTEEN_BITS)
    if picture.mode == "CMYK":
        notes.append("CMYK: brought to RGB")
    if picture.mode in ("RGBA", "LA", "PA") or picture.transparent:
        notes.append("transparent: on white")
    return notes


def bits_of(phash: str) -> np.uint64:
    """Returns a perceptual hash as a number.

    Args:
        phash: 16 hexadecimal digits.
    """
    return np.uint64(int(phash, 16))
