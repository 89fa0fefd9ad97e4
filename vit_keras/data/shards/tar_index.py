"""Indexes a tar file by its headers, as WebDataset writes them or as `tar` makes of a folder; nothing is extracted."""

import json
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from vit_keras.data.images.signatures import SUFFIXES
from vit_keras.data.scan.walk import is_ignored
from vit_keras.data.shards.shard_index import ShardIndex
from vit_keras.data.tables.table import clean_cell
from vit_keras.errors import CorruptFileError, DataError, EmptyDatasetError
from vit_keras.reporting.text import plural
from vit_keras.validation import list_words

FOLDER = "folder"
"""Name of the field of the folders that an image is in, where nothing else labels it."""
_IMAGES = tuple(suffix.removeprefix(".") for suffixes in SUFFIXES.values() for suffix in suffixes)
_TEXTS = ("cls", "txt", "label", "class")  # suffixes of members that are one cell
_LARGEST_TEXT = 2**20  # bytes
_COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "unzstd"),
)


def index_tar(path: Path, image_column: str | None = None) -> ShardIndex:
    """Returns the images of a tar file with what is written next to them.

    Members with the same name up to the first dot, such as `0001.jpg`, `0001.cls` and `0001.json`, are a sample. Where a file has only
    images, each is one. `image_column` is the suffix of the images, if samples have several.

    Raises:
        DataError: The file is compressed, or it is not clear which image is that of a sample.
        CorruptFileError: The file is truncated, damaged, or no tar file.
        EmptyDatasetError: There is no image.
    """
    images: list[tuple[str, str, str, int, int]] = []  # key, suffix, name, offset, length
    cells: dict[str, dict[str, Any]] = {}  # by key
    ignored: Counter[str] = Counter()
    with path.open("rb") as file:
        _refuse_compressed(path, file)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # else each stays in memory
                    base = os.path.basename(member.name)
                    if not member.isreg() or member.issparse() or is_ignored(base):
                        continue
                    key, suffix = _split_name(member.name)
                    last = suffix.rpartition(".")[2]
                    if last in _IMAGES:
                        images.append((key, suffix, member.name, member.offset_data, member.size))
                    elif (last in _TEXTS or last == "json") and member.size <= _LARGEST_TEXT:
                        file.seek(member.offset_data)
                        cells.setdefault(key, {}).update(_read_cells(path, member.name, suffix, file.read(member.size)))
                    else:
                        ignored[f".{suffix}" if suffix else "no suffix"] += 1
                end = tar.offset
        except tarfile.TarError as error:
            raise _describe_damage(path, str(error), images) from error
        file.seek(end)
        rest = file.read(tarfile.BLOCKSIZE)
        if rest.strip(b"\0") or 0 < len(rest) < tarfile.BLOCKSIZE:
            raise _describe_damage(path, f"no header at byte {end:,}", images)
    if not images:
        raise EmptyDatasetError(
            f"{path}: there is no image; its members are {list_words(sorted(ignored)) if ignored else 'none'}."
        )
    if not cells:
        return _make_index(images, {FOLDER: [key for key, *_ in images]}, ignored)
    images = _choose_images(path, images, image_column)
    names = dict.fromkeys(name for fields in cells.values() for name in fields)
    columns = {name: [cells.get(key, {}).get(name, "") for key, *_ in images] for name in names}
    index = _make_index(images, {FOLDER: [key for key, *_ in images], **columns}, ignored)
    index.images = images[0][1]
    return index


def _make_index(
    images: list[tuple[str, str, str, int, int]], columns: dict[str, list[Any]], ignored: Counter[str]
) -> ShardIndex:
    columns[FOLDER] = [os.path.dirname(key) for key in columns[FOLDER]]
    return ShardIndex(
        names=[name for _, _, name, _, _ in images],
        offsets=[offset for *_, offset, _ in images],
        lengths=[length for *_, length in images],
        columns=columns,
        ignored=dict(ignored),
    )


def _refuse_compressed(path: Path, file: BinaryIO) -> None:
    start = file.read(8)
    file.seek(0)
    for sign, name, program in _COMPRESSED:
        if start.startswith(sign):
            raise DataError(
                f"{path}: compressed with {name}, so that its images can't be read in any order. Images are compressed already: decompress "
                f"it once ({program} {path.name}), which hardly makes it larger."
            )


def _describe_damage(path: Path, reason: str, images: list[tuple[str, str, str, int, int]]) -> CorruptFileError:
    after = f"after {plural(len(images), 'image')}, the last {images[-1][2]}" if images else "at its start"
    return CorruptFileError(
        f"{path}: truncated, damaged or no tar file {after} ({reason}). Copy or make it again, or leave it out."
    )


def _split_name(name: str) -> tuple[str, str]:
    """Returns the key and the suffix of a member, in lower case: WebDataset splits at the first dot of the file name.

    >>> _split_name("train/0001.seg.PNG")
    ('train/0001', 'seg.png')
    """
    folder, base = os.path.split(name.removeprefix("./"))
    stem, _, suffix = base.partition(".")
    return os.path.join(folder, stem), suffix.lower()


def _read_cells(path: Path, name: str, suffix: str, content: bytes) -> dict[str, Any]:
    """Returns the cells in a member: of JSON its fields, else its text."""
    try:
        text = content.decode("utf-8-sig")
        if not suffix.endswith("json"):
            return {suffix: text.strip()}
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: {name} is not {suffix.rpartition('.')[2]} in UTF-8 ({error}).") from error
    if not isinstance(found, dict):
        return {suffix: clean_cell(found)}
    return {str(field): clean_cell(value) for field, value in found.items() if not isinstance(value, dict)}


def _choose_images(
    path: Path, images: list[tuple[str, str, str, int, int]], wanted: str | None
) -> list[tuple[str, str, str, int, int]]:
    """Returns one image per sample."""
    suffixes: dict[str, list[str]] = {}
    for key, suffix, *_ in images:
        suffixes.setdefault(key, []).append(suffix)
    if wanted is not None:
        chosen = [image for image in images if image[1] == wanted.lower().removeprefix(".")]
        if len(chosen) < len(suffixes):
            without = next(key for key, found in suffixes.items() if wanted.lower().removeprefix(".") not in found)
            raise DataError(
                f"{path}: the sample {without!r} has no image {wanted!r} (image_column); its images are {list_words(suffixes[without])}."
            )
        return chosen
    for key, found in suffixes.items():
        if len(found) > 1:
            raise DataError(
                f"{path}: the sample {key!r} has several images, {list_words(found)}. State the suffix of those to read with image_column "
                "(--image-column)."
            )
    return images
