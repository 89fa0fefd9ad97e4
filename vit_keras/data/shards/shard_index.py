"""`ShardIndex`: the images and labels of a shard by name, offset and length; made once and kept in the cache."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.errors import StorageError
from vit_keras.runtime.cache import cache_folder
from vit_keras.runtime.files import write_text

_FORMAT = 1


@dataclass(kw_only=True)
class ShardIndex:
    """What is in a shard: where its images are, and what is written next to them.

    Args:
        names: Of each image, in the shard.
        offsets: Where the bytes of each image start.
        lengths: Bytes of each image.
        columns: Cells of each image by the name of a field, texts or lists of texts; "" where there is none.
        classes: Names of the classes of a field whose cells are class names, in order, where the shard states them.
        ignored: Number of members that are neither images nor read as labels, by suffix.
        file: Where the bytes are, if not in the shard itself.
        images: Name of the field of the images, such as "jpg" or "image"; empty where each file is an image of its own.
    """

    names: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    classes: dict[str, list[str]] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    file: str | None = None
    images: str = ""


def open_index(path: Path, image_column: str | None, make: Callable[[Path, str | None], ShardIndex]) -> ShardIndex:
    """Returns the index of a shard: the one in the cache, unless the shard has changed, or a new one.

    Raises:
        StorageError: The shard can't be read.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error}).") from error
    header = {
        "format": _FORMAT,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "image_column": image_column,
        "path": str(path),
    }
    file = index_folder(path) / "index.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = json.loads(file.read_bytes())
        if found.pop("header") == header and (found["file"] is None or os.path.isfile(found["file"])):
            return ShardIndex(**found)
    try:
        index = make(path, image_column)
    except OSError as error:
        if isinstance(error, StorageError) or error.errno is None:
            raise
        raise StorageError(f"{path}: could not be read ({error}).") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(
        file, json.dumps({"header": header, **asdict(index)}), how_to_fix="VIT_KERAS_CACHE chooses another folder."
    )
    return index


def index_folder(path: Path) -> Path:
    """Returns the folder in the cache for what is known of a shard."""
    name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in path.name)[:40]
    return cache_folder() / "shards" / f"{name}-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"
