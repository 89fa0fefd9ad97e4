"""Decodes untrusted image files: limits on bytes and pixels, and every decoder error turned into a `VitKerasError`."""

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.images.signatures import (
    FORMATS,
    START,
    can_read_heif,
    describe_content,
    detect_format,
    is_raw,
    readable_formats,
)
from vit_keras.data.images.tiff_header import describe_tiff
from vit_keras.errors import CorruptFileError, DataError, StorageError

LARGEST_PIXELS = 50_000_000  # by the header, before anything is decoded
LARGEST_BYTES = 200 * 2**20
_SIXTEEN_BITS = (0.0, 65535.0)
_MOST_OUTSIDE = 0.5  # fraction of the pixels outside a stated range; they are clipped
_SAME_FORMAT = {"MPO": "JPEG"}  # a phone's JPEG with more images behind the first
ORIENTATION = 0x0112  # Exif tag
_FIRST_TRANSPOSED = 5  # from this orientation on, width and height are swapped
# What makes an image upright. Pillow's own helper rewrites the Exif tags, and fails on malformed ones.
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns about sizes, which are errors here, and about metadata, which is not used. Not silenced around each call, because
# that is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Returns an image file as pixels `(height, width, channels)`, uint8: upright, on white, preprocessed."""
    return Picture(read_bytes(path), path).preprocess(preprocessing)


class FilePart(NamedTuple):
    """Where the bytes of an image are: a file, or a part of a shard.

    Args:
        path: The file.
        size: Of the whole file when it was checked, bytes.
        mtime_ns: Modification time of the file when it was checked.
        offset: Where the part starts, bytes.
        length: Of the part, bytes; None for the whole file.
        name: What messages call the image, if not by the path.
    """

    path: str
    size: int
    mtime_ns: int
    offset: int = 0
    length: int | None = None
    name: str = ""

    def read(self) -> bytes:
        """Returns the bytes; raises `DataError` unless the file still has its size and modification time."""
        path = Path(self.path)
        content = read_bytes(path, offset=self.offset, length=self.length)
        status = os.stat(path)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise DataError(f"{path}: changed since it was checked.")
        return content

    def open(self) -> "Picture":
        """Returns the image; raises a `VitKerasError` where it can't be used."""
        return Picture(self.read(), self.name or self.path)


def read_bytes(path: Path, *, offset: int = 0, length: int | None = None) -> bytes:
    """Returns the bytes of a regular file, or a part of it, of at most `LARGEST_BYTES`; never opens a pipe or a device, which could block."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StorageError(f"{path}: not a file.")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size if length is None else length
            if size > LARGEST_BYTES:
                raise DataError(f"{path}: {size / 2**20:.0f} MiB is over the limit of {LARGEST_BYTES // 2**20} MiB.")
            if length is None:
                return file.read(size + 1)
            file.seek(offset)
            content = file.read(length)
            if len(content) < length:
                raise StorageError(f"{path}: ends at byte {offset + len(content):,}, within this image.")
            return content
    except FileNotFoundError as error:
        raise StorageError(f"{path}: there is no such file.") from error
    except PermissionError as error:
        raise StorageError(f"{path}: permission denied.") from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error


class Picture:
    """An image whose header was read and is within the limits; its pixels are decoded by `decode`.

    Args:
        content: The bytes of the file.
        name: What messages call it.
        max_pixels: Maximum number of pixels by the header, before anything is decoded; None for `LARGEST_PIXELS`.
    """

    def __init__(self, content: bytes, name: object, *, max_pixels: int | None = None) -> None:
        self.name = name
        max_pixels = LARGEST_PIXELS if max_pixels is None else max_pixels
        with _convert_errors(name, content):
            if is_raw(str(name)):
                raise DataError(f"{name}: camera raw, which has only a small preview as an image; save PNG or JPEG.")
            self._image = Image.open(io.BytesIO(content), formats=_choose_formats(content))
            width, height = self._image.size
            if width * height > max_pixels:
                raise DataError(
                    f"{name}: {width}x{height} is {width * height / 1e6:.0f} million pixels; the limit is {max_pixels / 1e6:.0f} million."
                )
            self.format: str = _SAME_FORMAT.get(self._image.format or "", self._image.format or "")
            self.mode = self._image.mode  # the file's: "RGB", "L", "P", "CMYK", "RGBA", ...
            self.animated = bool(getattr(self._image, "is_animated", False))
            # A PNG may have its Exif data behind its pixels, where only decoding finds it.
            if self.format == "PNG":
                self._image.load()
            # Pillow itself turns a TIFF upright: its size at once, its pixels when they are decoded.
            orientation = 1 if self.format == "TIFF" else self._image.getexif().get(ORIENTATION, 1)
            self.transparent = "transparency" in self._image.info  # one color is
        self.orientation = orientation if orientation in _TRANSPOSES else 1  # Exif; 1 is upright
        self.size = (height, width) if self.orientation >= _FIRST_TRANSPOSED else (width, height)

    def decode(
        self,
        *,
        channels: int = 3,
        at_least: tuple[int, int] | None = None,
        pixel_range: tuple[float, float] | None = None,
    ) -> Image.Image:
        """Returns the image upright, on white, in mode "RGB" for 3 channels or "L" for 1.

        `at_least` is a width and height, px, that is enough: a larger JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is faster.
        `pixel_range`: black and white of gray images with more than 8 bits; by default 0 and 65535, and floating-point numbers are refused.
        """
        with _convert_errors(self.name):
            if at_least is not None:
                self._image.draft(None, at_least[::-1] if self.orientation >= _FIRST_TRANSPOSED else at_least)
            self._image.load()
            transpose = _TRANSPOSES.get(self.orientation)
            upright = self._image if transpose is None else self._image.transpose(transpose)
            if upright.mode == "F" or upright.mode.startswith("I"):  # more than 8 bits, which Pillow would clip at 255
                upright = _scale(upright, self.name, pixel_range)
            image, mode = _put_on_white(upright), "L" if channels == 1 else "RGB"
            return image if image.mode == mode else image.convert(mode)

    def preprocess(self, preprocessing: Preprocessing) -> np.ndarray:
        """Returns the decoded and preprocessed pixels, `(height, width, channels)`, uint8."""
        return preprocessing.to_array(self.decode_for(preprocessing))

    def decode_for(self, preprocessing: Preprocessing, *, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Returns the image decoded with the channels and the pixel range of a preprocessing."""
        return self.decode(channels=preprocessing.channels, at_least=at_least, pixel_range=preprocessing.pixel_range)


def _choose_formats(content: bytes) -> tuple[str, ...]:
    """Returns the formats that Pillow may try; pillow-heif is imported only for a file that needs it."""
    is_heif = detect_format(content[:START]) == "HEIF"
    return FORMATS if is_heif and can_read_heif() else tuple(name for name in FORMATS if name != "HEIF")


@contextmanager
def _convert_errors(name: object, content: bytes = b"") -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        start = content[:START]
        found = describe_tiff(content) if detect_format(start) == "TIFF" else describe_content(start)
        raise DataError(
            f"{name}: not a supported image ({found}); expected one of {', '.join(readable_formats())}."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name}: its header declares more pixels than the limit of {LARGEST_PIXELS / 1e6:.0f} million."
        ) from error
    except MemoryError as error:
        raise CorruptFileError(f"{name}: truncated or damaged (there is not enough memory to decode it).") from error
    except (
        OSError, ValueError, TypeError, KeyError, ZeroDivisionError, struct.error, SyntaxError, EOFError, IndexError, OverflowError,
    ) as error:  # fmt: skip  # Pillow's plugins raise all of these
        raise CorruptFileError(f"{name}: truncated or damaged ({error}).") from error


def _scale(image: Image.Image, name: object, pixel_range: tuple[float, float] | None) -> Image.Image:
    """Returns a gray image with more than 8 bits or floating-point pixels, scaled to 8 bits: black is 0, white 255."""
    values = np.asarray(image)
    low, high = pixel_range or _SIXTEEN_BITS
    described = f"its pixels range from {values.min():.9g} to {values.max():.9g}"
    if pixel_range is None and image.mode == "F":
        raise DataError(
            f"{name}: floating-point pixels of unknown range ({described}); state black and white, such as pixel_range=(0, 1)."
        )
    if not np.isfinite(values).all():
        raise DataError(f"{name}: some of its pixels are NaN or infinite; replace them.")
    outside = float(((values < low) | (values > high)).mean())
    if outside > (0 if pixel_range is None else _MOST_OUTSIDE):
        raise DataError(
            f"{name}: {described}, which is not 16 bits; convert it to 8 bits, or state black and white with pixel_range=(low, high)."
            if pixel_range is None
            else f"{name}: {described}, which does not fit pixel_range=({low:g}, {high:g})."
        )
    scaled = (values.astype("float64") - low) * (255 / (high - low))
    return Image.fromarray(scaled.round().clip(0, 255).astype("uint8"))


def _put_on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colors = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors)
    return image
