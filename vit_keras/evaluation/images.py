"""Images as users pass them (paths, folders, arrays, PIL images) and their pixels as a model takes them."""

import glob
import io
import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vit_keras.data.images.decode import ORIENTATION, FilePart, Picture, read_image
from vit_keras.data.images.preprocess import Preprocessing, to_image
from vit_keras.data.images.signatures import USUAL_SUFFIXES, inspect_start
from vit_keras.data.scan.walk import is_ignored
from vit_keras.data.shards.shard_files import find_shards
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.image_lists import is_image_list, read_image_list, read_shard_list
from vit_keras.validation import hint_channels

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True, eq=False)
class ImageInput:
    """One image that is not decoded yet.

    Args:
        name: Its path, or "image 3" for the fourth of all images.
        content: Where its pixels are.
        labels: What names its class, if that is one of the model's: the label in a list, else the folders around it, inside out.
    """

    name: str
    content: Path | FilePart | np.ndarray | Image.Image
    labels: tuple[str, ...] = ()

    def find_label(self, class_names: Collection[str]) -> str | None:
        """Returns the class that the image's list or folder names; None where it names none of these."""
        return next((label for label in self.labels if label in class_names), None)

    def load(self, preprocessing: Preprocessing, scale: PixelScale | None = None) -> np.ndarray:
        """Returns the pixels, `(height, width, channels)`, uint8; `scale` converts arrays, which without it must be uint8."""
        if isinstance(self.content, Path):
            return read_image(self.content, preprocessing)
        if isinstance(self.content, FilePart):
            return self.content.open().preprocess(preprocessing)
        if isinstance(self.content, Image.Image):
            return Picture(_encode(self.content), self.name).preprocess(preprocessing)
        image = to_image((scale or PixelScale()).apply(self.content[None])[0])
        return preprocessing.to_array(image.convert("L" if preprocessing.channels == 1 else "RGB"))


def list_images(images: Any) -> list[ImageInput]:
    """Returns all images that a user passed, in order.

    Accepts a path, a PIL image, a numeric array `(height, width)`, `(height, width, channels)` or `(count, height, width, channels)`,
    or a list of these. A path is a file, a folder (searched with its subfolders), shards, a pattern such as `photos/**/*.jpg`, or a list of
    paths (CSV, TSV or text file). Raises `InvalidArgumentError` for anything else, such as a URL or a folder without images.
    """
    listed: list[ImageInput] = []
    for content, labels in _flatten(images):
        name = str(content) if isinstance(content, Path) else f"image {len(listed)}"
        name = content.name if isinstance(content, FilePart) else name
        listed.append(ImageInput(name, content, tuple(unicodedata.normalize("NFC", label) for label in labels)))
    return listed


def _flatten(images: Any) -> Iterator[tuple[Path | FilePart | np.ndarray | Image.Image, tuple[str, ...]]]:
    if isinstance(images, str | os.PathLike):
        yield from _find_files(os.fspath(images))
    elif isinstance(images, Image.Image):
        yield images, ()
    elif isinstance(images, list | tuple):
        for each in images:
            yield from _flatten(each)
    elif hasattr(images, "__array__"):
        for array in _split_array(np.asarray(images)):
            yield array, ()
    else:
        raise InvalidArgumentError(
            f"{type(images).__name__} is not an image: expected a path, a folder, an array, a PIL image, or a list of these."
        )


def _find_files(word: str) -> Iterator[tuple[Path | FilePart, tuple[str, ...]]]:
    """Yields the images that a path names, with the names of the folders around them, or with their labels."""
    path = Path(word).expanduser()
    shards = find_shards(path)
    if shards is not None:
        yield from read_shard_list(shards)
    elif path.is_dir():
        found = sorted(_search(path))
        if not found:
            raise InvalidArgumentError(f"{word}: this folder contains no images.")
        yield from ((file, _folders(file, path)) for file in found)
    elif is_image_list(path):
        for file, label in read_image_list(path):
            yield file, _folders(file, file.parent) if label is None else (label,)
    elif not path.exists() and glob.has_magic(word):
        root = _fixed_part(path)
        found = sorted({file for match in glob.iglob(str(path), recursive=True) for file in _expand(Path(match), path)})
        if not found:
            raise InvalidArgumentError(f"{word}: no image matches this pattern.")
        yield from ((file, _folders(file, root)) for file in found)
    elif re.match(r"[a-z][a-z0-9+.-]+:/", word, re.IGNORECASE) and not path.exists():
        raise InvalidArgumentError(f"{word}: URLs are not supported. Download the file and give its path.")
    else:
        yield path, _folders(path, path.parent)


def _expand(match: Path, pattern: Path) -> list[Path]:
    """Returns the image files of a match: itself, or those in a folder, unless `**` matches these by itself."""
    if any(is_ignored(part) for part in match.parts if part not in pattern.parts):
        return []
    if match.is_dir():
        return [] if "**" in pattern.parts else list(_search(match))
    return [match] if _is_candidate(str(match)) else []


def _search(root: Path) -> Iterator[Path]:
    """Yields the image files in a folder and its subfolders, without hidden ones."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not is_ignored(name)]
        yield from (
            Path(folder, name) for name in names if not is_ignored(name) and _is_candidate(os.path.join(folder, name))
        )


def _is_candidate(path: str) -> bool:
    """Whether a file is an image, also one in a format that can't be read, of which the user must know."""
    return path.lower().endswith(USUAL_SUFFIXES) or inspect_start(path) is not None


def _fixed_part(pattern: Path) -> Path:
    """Returns the folders of a pattern before its first wildcard."""
    count = next(index for index, part in enumerate(pattern.parts) if glob.has_magic(part))
    return Path(*pattern.parts[:count])


def _folders(file: Path, root: Path) -> tuple[str, ...]:
    """Returns the names of the folders around a file, inside out, up to that of a root folder."""
    folder, last = Path(os.path.abspath(file.parent)), Path(os.path.abspath(root))
    inside = folder.relative_to(last).parts if folder.is_relative_to(last) else ()
    return tuple(name for name in (*reversed(inside), last.name) if name)


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
            + hint_channels(array.shape)
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
