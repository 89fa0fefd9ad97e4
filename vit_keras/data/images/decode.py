"""Reads image files that nobody vouches for."""

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vit_keras.data.images.preprocess import Preprocessing, pixels
from vit_keras.data.images.signatures import FORMATS, START, described
from vit_keras.errors import CorruptFileError, DataError, StorageError

LARGEST_PIXELS = 50_000_000
"""Pixels an image may have, read from its header before anything is decoded."""
LARGEST_BYTES = 200 * 2**20

# Pillow warns of sizes, which are errors here, and of metadata, which nobody asked for. Not silenced around each call: that is
# not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Returns an image file as pixels: upright, on white, resized.

    Args:
        path: A JPEG, PNG, WebP, GIF, BMP, PPM or TIFF file of any size and mode, whatever it is called.
        preprocessing: To what size, and by which rule.

    Returns:
        `(height, width, channels)`, uint8.

    Raises:
        StorageError: The file is not there or not readable.
        CorruptFileError: It is truncated or damaged.
        DataError: It is no image, or too large.
    """
    image = Picture(read_bytes(path), path).decode(channels=preprocessing.channels)
    return pixels(preprocessing.apply(image))


def read_bytes(path: Path) -> bytes:
    """Returns the bytes of a regular file; a pipe or a device is not opened, and never waited for.

    Raises:
        StorageError: There is no such file, or it cannot be read.
        DataError: It is over `LARGEST_BYTES`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StorageError(f"{path}: not a file.")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            if size > LARGEST_BYTES:
                raise DataError(f"{path}: {size / 2**20:.0f} MiB is over the limit of {LARGEST_BYTES // 2**20} MiB.")
            return file.read(size + 1)
    except FileNotFoundError as error:
        raise StorageError(f"{path}: there is no such file.") from error
    except PermissionError as error:
        raise StorageError(f"{path}: permission denied.") from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error


def read_unchanged(path: Path, size: int, mtime_ns: int) -> bytes:
    """Returns the bytes of a file that is what it was.

    Args:
        path: The file.
        size: Its bytes when it was checked.
        mtime_ns: When it had been changed last, nanoseconds.

    Raises:
        StorageError: It is gone.
        DataError: It changed.
    """
    content = read_bytes(path)
    status = os.stat(path)
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise DataError(f"{path}: changed since it was checked.")
    return content


class Picture:
    """An image whose header was read and found harmless; nothing is decoded yet.

    Args:
        content: The file's bytes.
        name: What messages call it: its path.

    Attributes:
        format: One of `FORMATS`.
        mode: Pillow's word for what a pixel is, as in the file: "RGB", "L", "P", "CMYK", "RGBA", ...
        size: Width and height, px, upright.
        orientation: Exif's number, 1 for upright.
        animated: Whether there are frames after the first.
        transparent: Whether a colour is declared to be see-through.

    Raises:
        CorruptFileError: It is truncated or damaged.
        DataError: It is no image, or too large.
    """

    def __init__(self, content: bytes, name: object) -> None:
        self.name = name
        with _our_errors(name, content):
            self._image = Image.open(io.BytesIO(content), formats=FORMATS)
            width, height = self._image.size
            if width * height > LARGEST_PIXELS:
                raise DataError(
                    f"{name}: {width}x{height} is {width * height / 1e6:.0f} million pixels; the limit is {LARGEST_PIXELS / 1e6:.0f} million."
                )
            self.format: str = _SAME_AS.get(self._image.format or "", self._image.format or "")
            self.mode = self._image.mode
            self.animated = bool(getattr(self._image, "is_animated", False))
            # A PNG may carry its Exif data behind its pixels, where only decoding finds it.
            if self.format == "PNG":
                self._image.load()
            # Pillow turns a TIFF upright itself, in its size at once and in its pixels when they are decoded.
            orientation = 1 if self.format == "TIFF" else self._image.getexif().get(_ORIENTATION, 1)
            self.transparent = "transparency" in self._image.info
        self.orientation = orientation if orientation in _TURNS else 1
        self.size = (height, width) if self.orientation >= _FIRST_ON_ITS_SIDE else (width, height)

    def decode(self, *, channels: int = 3, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Returns the image upright, on white, in colour or grey.

        Args:
            channels: 3 for "RGB", 1 for "L".
            at_least: Width and height, px, that are enough; a larger JPEG is decoded at a half, a quarter or an eighth, which
                is faster, where that is no smaller. By default all of it.

        Raises:
            CorruptFileError: It is truncated or damaged.
        """
        with _our_errors(self.name):
            if at_least is not None:
                wanted = at_least[::-1] if self.orientation >= _FIRST_ON_ITS_SIDE else at_least
                self._image.draft(None, wanted)
            self._image.load()
            turn = _TURNS.get(self.orientation)
            upright = self._image if turn is None else self._image.transpose(turn)
            image, mode = _on_white(upright, self.name), "L" if channels == 1 else "RGB"
            return image if image.mode == mode else image.convert(mode)


@contextmanager
def _our_errors(name: object, content: bytes = b"") -> Iterator[None]:
    """Turns what Pillow and its plugins raise into our errors."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not an image this reads ({described(content[:START])}); expected one of {', '.join(FORMATS)}."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name}: its header declares more pixels than the limit of {LARGEST_PIXELS / 1e6:.0f} million."
        ) from error
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        ZeroDivisionError,
        struct.error,
        SyntaxError,
        EOFError,
        IndexError,
        OverflowError,
        MemoryError,
    ) as error:  # Pillow's plugins raise all of these
        reason = "decoding it takes more memory than there is" if isinstance(error, MemoryError) else error
        raise CorruptFileError(f"{name}: truncated or damaged ({reason}).") from error


_SAME_AS = {"MPO": "JPEG"}
"""Pillow's word for a JPEG with more images behind the first, as telephones write it."""
_ORIENTATION = 0x0112  # Exif's tag
_FIRST_ON_ITS_SIDE = 5
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


def _on_white(image: Image.Image, name: object) -> Image.Image:
    if image.mode == "F":
        raise DataError(
            f"{name}: its pixels are floating-point numbers, whose range it does not say; convert it to 8 bits."
        )
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would cut off at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{name}: its pixels run from {values.min()} to {values.max()}, which is more than 16 bits; convert it to 8 bits."
            )
        return Image.fromarray((values / 257).round().astype("uint8"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return image
