"""Reads image files that nobody vouches for."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vit_keras.errors import CorruptFileError, DataError, StorageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Read whatever the file is called; of an animation the first frame."""
LARGEST_PIXELS = 50_000_000
"""Pixels an image may have, read from its header before anything is decoded."""
LARGEST_BYTES = 200 * 2**20


def read_image(path: Path, *, image_size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Returns an image file as pixels: upright, on white, resized to cover and cropped to the middle.

    Args:
        path: A JPEG, PNG, WebP, GIF or BMP file of any size and mode.
        image_size: Height and width, px.
        channels: 3 for colour, 1 for grey.

    Returns:
        `(height, width, channels)`, uint8.

    Raises:
        StorageError: The file is not there or not readable.
        CorruptFileError: It is truncated or damaged.
        DataError: It is no image, or too large.
    """
    try:
        if not path.is_file():
            raise StorageError(f"{path}: there is no such file.")
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(
                f"{path}: {path.stat().st_size / 2**20:.0f} MiB is over the limit of {LARGEST_BYTES // 2**20} MiB."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own warnings on size and metadata; ours are errors
            return _decode(path, image_size, channels)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: not an image this reads ({_looks_like(path)}); expected one of {', '.join(FORMATS)}."
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: its header declares more pixels than the limit of {LARGEST_PIXELS / 1e6:.0f} million."
        ) from error
    except PermissionError as error:
        raise StorageError(f"{path}: permission denied.") from error
    except (StorageError, DataError):
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        OverflowError,
        MemoryError,
    ) as error:  # Pillow's plugins raise all of these
        raise CorruptFileError(f"{path}: truncated or damaged ({error}).") from error


def _decode(path: Path, image_size: tuple[int, int], channels: int) -> np.ndarray:
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if width * height > LARGEST_PIXELS:
            raise DataError(
                f"{path}: {width}x{height} is {width * height / 1e6:.0f} million pixels; the limit is {LARGEST_PIXELS / 1e6:.0f} million."
            )
        image.load()
        turned = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        upright = image.transpose(turned) if turned is not None else image
    picture = _on_white(upright).convert("L" if channels == 1 else "RGB")
    rows, columns = image_size
    fitted = ImageOps.fit(picture, (columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(fitted, dtype="uint8").reshape(rows, columns, channels)


_ORIENTATION = 0x0112  # Exif's tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright. Pillow's own helper writes the tags anew, and fails on those of the wrong kind."""


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would cut off at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype("uint8"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return image


def _looks_like(path: Path) -> str:
    start = path.read_bytes()[:64] if path.stat().st_size else b""
    signs: Iterable[tuple[bytes, str]] = (
        *((b"\x80" + bytes([protocol]), "a pickle") for protocol in range(2, 6)),
        (b"PK", "a zip archive"),
        (b"%PDF", "a PDF"),
        (b"II*\0", "a TIFF"),
        (b"MM\0*", "a TIFF"),
        (b"\0\0\0", "an ISO media file such as HEIC, AVIF or MP4"),
    )
    if not start:
        return "the file is empty"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it looks like HTML"
    return next(
        (f"it looks like {name}" for sign, name in signs if start.startswith(sign)),
        "its first bytes are of no image format",
    )
