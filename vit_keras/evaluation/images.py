"""Images as users pass them (paths, folders, arrays, PIL images) and their pixels as a model takes them."""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vit_keras.data.images.decode import ORIENTATION, Picture, read_image
from vit_keras.data.images.preprocess import Preprocessing, to_image, to_pixels
from vit_keras.data.images.signatures import is_image
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.errors import InvalidArgumentError

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True, eq=False)
class ImageInput:
    """One image that is not decoded yet, named by its path, or "image 3" for the fourth of all images."""

    name: str
    content: Path | np.ndarray | Image.Image

    def load(self, preprocessing: Preprocessing, scale: PixelScale | None = None) -> np.ndarray:
        """Returns the pixels, `(height, width, channels)`, uint8; `scale` converts arrays, which without it must be uint8."""
        if isinstance(self.content, Path):
            return read_image(self.content, preprocessing)
        if isinstance(self.content, Image.Image):
            return Picture(_encode(self.content), self.name).preprocess(preprocessing)
        image = to_image((scale or PixelScale()).apply(self.content[None])[0])
        return to_pixels(preprocessing.apply(image.convert("L" if preprocessing.channels == 1 else "RGB")))


def list_images(images: Any) -> list[ImageInput]:
    """Returns all images that a user passed, in order; folders are searched with their subfolders.

    Accepts a path, a PIL image, a numeric array `(height, width)`, `(height, width, channels)` or `(count, height, width, channels)`,
    or a list of these; raises `InvalidArgumentError` for anything else, such as a URL or a folder without images.
    """
    listed: list[ImageInput] = []
    for content in _flatten(images):
        listed.append(ImageInput(str(content) if isinstance(content, Path) else f"image {len(listed)}", content))
    return listed


def _flatten(images: Any) -> Iterator[Path | np.ndarray | Image.Image]:
    if isinstance(images, str | os.PathLike):
        yield from _find_files(os.fspath(images))
    elif isinstance(images, Image.Image):
        yield images
    elif isinstance(images, list | tuple):
        for each in images:
            yield from _flatten(each)
    elif hasattr(images, "__array__"):
        yield from _split_array(np.asarray(images))
    else:
        raise InvalidArgumentError(
            f"{type(images).__name__} is not an image: expected a path, a folder, an array, a PIL image, or a list of these."
        )


def _find_files(path: str) -> list[Path]:
    if re.match(r"[a-z][a-z0-9+.-]+:/", path, re.IGNORECASE) and not os.path.exists(path):
        raise InvalidArgumentError(f"{path}: URLs are not supported. Download the file and give its path.")
    if not os.path.isdir(path):
        return [Path(path)]
    found = sorted(each for each in Path(path).rglob("*") if each.is_file() and is_image(str(each)))
    if not found:
        raise InvalidArgumentError(f"{path}: this folder contains no images.")
    return found


def _split_array(array: np.ndarray) -> Iterator[np.ndarray]:
    if array.ndim == 2:
        array = array[..., None]
    if (
        array.dtype.kind not in "uif"
        or array.ndim not in (3, 4)
        or array.shape[-1] not in (1, 3)
        or 0 in array.shape[-3:]
    ):
        raise InvalidArgumentError(
            f"An array of {array.dtype} and shape {array.shape} is not an image: expected numbers of shape (height, width), "
            "(height, width, channels) or (count, height, width, channels), with 1 or 3 channels."
        )
    yield from array if array.ndim == 4 else array[None]


def _encode(image: Image.Image) -> bytes:
    """Returns a PIL image as a file, so that orientation, transparency and 16 bits are handled as in files."""
    image.load()  # turns a TIFF upright
    exif = Image.Exif()
    exif[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    file = io.BytesIO()
    if image.mode in ("F", "I"):
        image.save(file, "TIFF")  # the decoder checks their range
    else:
        (image if image.mode in _PNG_MODES else image.convert("RGB")).save(file, "PNG", compress_level=0, exif=exif)
    return file.getvalue()
