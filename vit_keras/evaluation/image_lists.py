"""Reads lists of image files: a table with a column of paths, one path per line, or the images of shards."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from vit_keras.data.images.decode import FilePart
from vit_keras.data.scan.listing import list_with_clear_labels
from vit_keras.data.shards.list_shards import list_shards
from vit_keras.data.shards.shard_files import ShardFile
from vit_keras.data.tables.columns import LABEL_WORDS, ColumnError, choose_image_column, choose_label_columns
from vit_keras.data.tables.files import FileFinder
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.read_table import SUFFIXES, read_table
from vit_keras.data.tables.table import normalize
from vit_keras.data.tasks import format_label
from vit_keras.errors import DataError, EmptyDatasetError

_LINES = ".txt"


def is_image_list(path: Path) -> bool:
    """Whether a file is a list of images, by its suffix."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_image_list(path: Path) -> list[tuple[Path, str | None]]:
    """Returns the path and the label of each row; the label is None where the list has none.

    A text file has one path per line, relative to the file's folder or else to the current directory. Other tables are those that
    `vk.data.load` takes; their labels are optional.
    """
    found = _read_lines_of(path) if path.suffix.lower() == _LINES else _read_rows(path)
    if not found:
        raise EmptyDatasetError(f"{path}: this list names no images.")
    return found


def read_shard_list(shards: Sequence[ShardFile]) -> Iterator[tuple[FilePart, tuple[str, ...]]]:
    """Yields where each image of shards is, and its label, where it is clear that it has one class."""
    listing = list_with_clear_labels(partial(list_shards, shards))  # images to predict need no labels
    statuses = {path: os.stat(path) for path in listing.members.shards} if listing.members else {}
    for index, name in enumerate(listing.paths):
        path, offset, length = listing.find_part(index)
        status = statuses[path]
        part = FilePart(path, status.st_size, status.st_mtime_ns, offset, length, str(listing.root / name))
        label = format_label(listing.labels[index], listing.class_names) if listing.task == "single_label" else ""
        yield part, (label,) if label else ()


def read_lines(text: str) -> list[Path]:
    r"""Returns the paths in a text: one per line, or separated by NUL, as `find -print0` writes them.

    >>> [path.name for path in read_lines("cats/1.jpg\n\na b.png\n")]
    ['1.jpg', 'a b.png']
    """
    separated = text.split("\0") if "\0" in text else text.splitlines()
    return [Path(each) for each in map(str.strip, separated) if each]


def _read_lines_of(path: Path) -> list[tuple[Path, str | None]]:
    try:
        text = path.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error}).") from error
    return [(_locate(path.parent, each.expanduser()), None) for each in read_lines(text)]


def _locate(folder: Path, path: Path) -> Path:
    return folder / path if (folder / path).exists() or not path.exists() else path


def _read_rows(path: Path) -> list[tuple[Path, str | None]]:
    table, finder = read_table(path, TableOptions()), FileFinder(path.parent)
    images, _ = choose_image_column(table, None, finder)
    labels: tuple[str, ...] = ()
    if not table.has_header or any(normalize(name) in LABEL_WORDS for name in table.columns):
        with contextlib.suppress(ColumnError):  # images to predict need no labels
            labels = choose_label_columns(table, (), (images,))
    cells = table.columns[labels[0]] if len(labels) == 1 else [""] * len(table)
    return [
        (path.parent / (finder.find(image) or image), label if isinstance(label, str) and label else None)
        for image, label in zip(table.columns[images], cells, strict=True)
        if isinstance(image, str) and image
    ]
