"""Small pictures, as text that a page can hold."""

import base64
import io
from pathlib import Path

from PIL import Image

from vit_keras.data.images.decode import Picture, read_bytes
from vit_keras.errors import VitKerasError

_SIDE = 112  # px, twice what a telephone shows
_QUALITY = 72


def address_of(image: Image.Image, *, form: str = "jpeg") -> str:
    """Returns a picture of 112 px at most as a `data:` address.

    Args:
        image: In mode "RGB" or "L"; of any size.
        form: "jpeg", or "png" for pictures of few pixels, which are shown larger than they are.

    Example:
        >>> address_of(Image.new("RGB", (500, 300)))[:23]
        'data:image/jpeg;base64,'
    """
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    small.save(file, form, quality=_QUALITY, optimize=True)
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


class Thumbnails:
    """Makes small pictures of image files until they take too much room.

    Args:
        root: The folder that paths are relative to.
        room: Bytes of text that all of them may take.
    """

    def __init__(self, root: Path, *, room: int) -> None:
        self.root, self.room = root, room

    def address(self, path: str, *, reserve: int = 0) -> str | None:
        """Returns a file as a `data:` address, or nothing where it can't be read any more or there is no room.

        Args:
            path: Relative to the root.
            reserve: Bytes of room to leave free.
        """
        if self.room <= reserve:
            return None
        try:
            image = Picture(read_bytes(self.root / path), path).decode(at_least=(_SIDE, _SIDE))
        except VitKerasError:  # gone or changed since it was checked
            return None
        text = address_of(image)
        self.room -= len(text)
        return text
