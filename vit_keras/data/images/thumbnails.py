"""Thumbnails as `data:` URLs, for HTML pages."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from vit_keras.data.images.decode import Picture, read_bytes
from vit_keras.errors import VitKerasError

_SIDE = 112  # px, for screens with two pixels per CSS pixel
_QUALITY = 72


def to_data_url(image: Image.Image, *, form: str = "jpeg") -> str:
    """Returns an image, scaled down to at most 112 px, as a `data:` URL; "png" is for images of few pixels, which a page enlarges."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    small.save(file, form, quality=_QUALITY, optimize=True)
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


class Thumbnails:
    """Makes thumbnails of the files in a folder until they take `budget` bytes of text; `read` returns the bytes of others by name."""

    def __init__(self, root: Path, *, budget: int, read: Callable[[str], bytes] | None = None) -> None:
        self.budget = budget
        self._read = read or (lambda path: read_bytes(root / path))

    def make(self, path: str, *, reserve: int = 0) -> str | None:
        """Returns a file's thumbnail; None if it is unreadable or `reserve` or fewer bytes are left."""
        if self.budget <= reserve:
            return None
        try:
            image = Picture(self._read(path), path).decode(at_least=(_SIDE, _SIDE))
        except VitKerasError:  # removed or changed since it was checked
            return None
        url = to_data_url(image)
        self.budget -= len(url)
        return url
