"""Indexes a TFRecord file of `tf.train.Example`s with encoded images and labels, by its records; needs no TensorFlow."""

import mmap
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vit_keras.data.images.signatures import START, detect_format
from vit_keras.data.shards.crc32c import masked_crc32c
from vit_keras.data.shards.example import Part, parse_example
from vit_keras.data.shards.shard_index import ShardIndex
from vit_keras.data.tables.table import clean_cell
from vit_keras.errors import CorruptFileError, DataError, EmptyDatasetError
from vit_keras.reporting.text import plural
from vit_keras.validation import list_words

_IMAGE_FEATURES = ("image/encoded", "image", "image_raw", "encoded", "jpeg", "jpg", "png", "img", "image_bytes")
_LARGEST_TEXT = 1000  # bytes of a cell
_HEADER = struct.Struct("<QI")  # length, its checksum
_FOOTER = struct.Struct("<I")  # checksum of the data


def index_tfrecord(path: Path, image_column: str | None = None) -> ShardIndex:
    """Returns the images of a TFRecord file with their other features. Checksums are verified.

    Raises:
        DataError: The file is compressed, or a record has no image.
        CorruptFileError: The file is truncated or damaged, or its records are no `tf.train.Example`s.
        EmptyDatasetError: There are no records.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise EmptyDatasetError(f"{path}: there are no records.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _index(path, content, image_column)


def _index(path: Path, content: mmap.mmap, wanted: str | None) -> ShardIndex:
    index, rows, chosen = ShardIndex(), list[dict[str, Any]](), wanted
    ignored: Counter[str] = Counter()
    for number, (start, end) in enumerate(_find_records(path, content)):
        try:
            features = parse_example(content, start, end)
        except (ValueError, IndexError, struct.error, TypeError, AttributeError) as error:
            raise CorruptFileError(f"{path}: record {number} is no tf.train.Example ({error}).") from error
        chosen = chosen or _choose_image(features, content)
        parts = features.pop(chosen, []) if chosen else []
        if len(parts) != 1 or not isinstance(parts[0], Part):
            what = f"one encoded image in {chosen!r}" if chosen else "encoded image"
            raise DataError(
                f"{path}: record {number} has no {what}; its features are {list_words(sorted(features))}. State the one of images with "
                "image_column (--image-column)."
            )
        index.names.append(f"{number:06d}")
        index.offsets.append(parts[0].start)
        index.lengths.append(parts[0].end - parts[0].start)
        rows.append(_read_cells(features, content, ignored))
    if not rows:
        raise EmptyDatasetError(f"{path}: there are no records.")
    index.columns = {
        name: [row.get(name, "") for row in rows] for name in dict.fromkeys(name for row in rows for name in row)
    }
    index.ignored, index.images = dict(ignored), chosen or ""
    return index


def _find_records(path: Path, content: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yields where the data of each record start and end; raises `CorruptFileError` at the first that is damaged."""
    place, number, size = 0, 0, len(content)
    while place < size:
        after = f"after {plural(number, 'record')}, at byte {place:,} of {size:,}"
        if place + _HEADER.size > size:
            raise CorruptFileError(f"{path}: truncated {after}. Copy or make it again, or leave it out.")
        length, checksum = _HEADER.unpack_from(content, place)
        if masked_crc32c(content[place : place + 8]) != checksum:
            if content[:2] == b"\x1f\x8b":
                raise DataError(
                    f"{path}: compressed with gzip, so that its images can't be read in any order. Images are compressed already: write "
                    "the records without compression."
                )
            what = "damaged" if number else "no TFRecord file, or damaged,"
            raise CorruptFileError(f"{path}: {what} {after}: the checksum of a length is wrong.")
        start = place + _HEADER.size
        end = start + length
        if end + _FOOTER.size > size:
            raise CorruptFileError(f"{path}: truncated {after}. Copy or make it again, or leave it out.")
        if masked_crc32c(content[start:end]) != _FOOTER.unpack_from(content, end)[0]:
            raise CorruptFileError(
                f"{path}: damaged {after}: the checksum of record {number} is wrong. Copy or make it again, or leave it out."
            )
        yield start, end
        place, number = end + _FOOTER.size, number + 1


def _choose_image(features: Mapping[str, list[Any]], content: mmap.mmap) -> str | None:
    """Returns the feature of images: by its usual name, else the only one that holds an image."""
    found = [name for name, values in features.items() if len(values) == 1 and _is_image(values[0], content)]
    return next((name for name in _IMAGE_FEATURES if name in found), found[0] if len(found) == 1 else None)


def _is_image(value: Any, content: mmap.mmap) -> bool:
    if not isinstance(value, Part):
        return False
    return detect_format(content[value.start : min(value.end, value.start + START)]) is not None


def _read_cells(features: Mapping[str, list[Any]], content: mmap.mmap, ignored: Counter[str]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, values in features.items():
        if any(isinstance(value, Part) and value.end - value.start > _LARGEST_TEXT for value in values):
            ignored[name] += 1
            continue
        try:
            read = [content[value.start : value.end].decode() if isinstance(value, Part) else value for value in values]
        except UnicodeDecodeError:
            ignored[name] += 1
            continue
        cells[name] = clean_cell(read[0]) if len(read) == 1 else clean_cell(read)
    return cells
