"""Indexes a Parquet file with image bytes, as Hugging Face writes them; read in batches by pyarrow."""

import importlib.util
import json
import mmap
import os
from pathlib import Path
from typing import Any

from vit_keras.data.shards.shard_index import ShardIndex, index_folder
from vit_keras.data.tables.table import clean_cell
from vit_keras.errors import CorruptFileError, DataError, EmptyDatasetError
from vit_keras.runtime.files import atomic_file
from vit_keras.validation import list_words

_IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "jpg", "png")
_BATCH = 64  # rows
_BUFFER = 2**20  # bytes
_COPY = "images.bin"


def holds_images(path: str | Path) -> bool:
    """Whether a file is a Parquet file with a column of image bytes, by its schema; False where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None or not os.path.isfile(path):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(_find_image_columns(pq.read_schema(path)))
    except (OSError, pa.ArrowException):  # reported by who reads it
        return False


def index_parquet(path: Path, image_column: str | None = None) -> ShardIndex:
    """Returns the images of a Parquet file with its other columns.

    Images that are stored without compression, as the datasets library writes them, are read where they are; others are copied once,
    without compression, to the cache.

    Raises:
        DataError: It is not clear which column holds the images, or a row has none.
        CorruptFileError: The file is damaged or truncated.
        EmptyDatasetError: There are no rows.
        StorageError: The copy can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            return _index(path, file, image_column)
    except pa.ArrowException as error:
        raise CorruptFileError(f"{path}: not a readable Parquet file ({error}). Copy or make it again.") from error


def _find_image_columns(schema: Any) -> list[str]:
    """Returns the columns of bytes, or of Hugging Face's structs of bytes and a path."""
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    return [
        field.name
        for field in schema
        if is_bytes(field.type)
        or (
            pa.types.is_struct(field.type)
            and any(inner.name == "bytes" and is_bytes(inner.type) for inner in field.type.fields)
        )
    ]


def _index(path: Path, file: Any, wanted: str | None) -> ShardIndex:
    import pyarrow as pa

    schema = file.schema_arrow
    column = _choose_image(path, _find_image_columns(schema), schema.names, wanted)
    if not file.metadata.num_rows:
        raise EmptyDatasetError(f"{path}: there are no rows.")
    leaf = f"{column}.bytes" if pa.types.is_struct(schema.field(column).type) else column
    index = ShardIndex(names=[f"{row:06d}" for row in range(file.metadata.num_rows)], images=column)
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
        in_place = _find_in_place(path, file, leaf, content, index)
    if not in_place:
        index.offsets, index.lengths = [], []
        _copy(path, file, leaf, index)
    features = _read_features(schema)
    for field in schema:
        nested = pa.types.is_struct(field.type) or pa.types.is_map(field.type) or pa.types.is_binary(field.type)
        if field.name == column or nested or pa.types.is_large_binary(field.type):
            continue
        values = file.read(columns=[field.name]).column(field.name).to_pylist()
        names = _find_names(features.get(field.name))
        if names:
            index.classes[field.name] = names
            values = [_name_class(value, names) for value in values]
        index.columns[field.name] = [clean_cell(value) for value in values]
    return index


def _choose_image(path: Path, found: list[str], columns: list[str], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in found:
            raise DataError(
                f"{path}: the column {wanted!r} (image_column) holds no image bytes; those that do are {list_words(found)}, of "
                f"{list_words(columns)}."
            )
        return wanted
    named = [name for name in _IMAGE_COLUMNS if name in found]
    if not named and len(found) != 1:
        raise DataError(
            f"{path}: it is not clear which of the columns {list_words(found)} holds the images; state it with image_column "
            "(--image-column)."
        )
    return (named or found)[0]


def _read_values(path: Path, file: Any, leaf: str, group: int) -> Any:
    """Yields the bytes of each image of a row group."""
    row = sum(file.metadata.row_group(before).num_rows for before in range(group))
    for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=[leaf], use_threads=False):
        values = batch.column(0)
        for value in values.field("bytes") if hasattr(values, "field") else values:
            buffer = value.as_buffer()
            if buffer is None:
                raise DataError(
                    f"{path}: row {row} has no image bytes. If it names a file, save the data set with the images inside, or leave the row out."
                )
            yield memoryview(buffer)
            row += 1


def _find_in_place(path: Path, file: Any, leaf: str, content: mmap.mmap, index: ShardIndex) -> bool:
    """Adds where each image is in the file; returns False where they are compressed or encoded."""
    for group in range(file.metadata.num_row_groups):
        chunks = (
            file.metadata.row_group(group).column(number)
            for number in range(file.metadata.row_group(group).num_columns)
        )
        chunk = next(each for each in chunks if each.path_in_schema == leaf)
        if chunk.compression != "UNCOMPRESSED":
            return False
        first = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
        end = first + chunk.total_compressed_size
        place = first
        for value in _read_values(path, file, leaf, group):
            found = place + 4  # behind the value's length
            if content[found : found + len(value)] != value:
                found = content.find(value, place, end)
                if found < 0:  # repeated, in a dictionary
                    found = content.find(value, first, end)
                if found < 0:
                    return False
            index.offsets.append(found)
            index.lengths.append(len(value))
            place = found + len(value)
    return True


def _copy(path: Path, file: Any, leaf: str, index: ShardIndex) -> None:
    """Writes all images to a file in the cache, one after the other."""
    target = index_folder(path) / _COPY
    target.parent.mkdir(parents=True, exist_ok=True)
    how_to_fix = "VIT_KERAS_CACHE chooses another folder; images that are stored without compression need no copy."
    with atomic_file(target, how_to_fix=how_to_fix) as unfinished, unfinished.open("wb") as copy:
        for group in range(file.metadata.num_row_groups):
            for value in _read_values(path, file, leaf, group):
                index.offsets.append(copy.tell())
                index.lengths.append(len(value))
                copy.write(value)
    index.file = str(target)


def _read_features(schema: Any) -> dict[str, Any]:
    """Returns what the datasets library wrote about each column."""
    try:
        found = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (TypeError, KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _find_names(feature: Any) -> list[str]:
    """Returns the names of the classes of a feature, or of the elements of a list of them."""
    if isinstance(feature, list) and feature:
        feature = feature[0]
    if isinstance(feature, dict) and "feature" in feature:
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _name_class(value: Any, names: list[str]) -> Any:
    """Returns the name of a class index, or of each in a list; -1 is no label."""
    if isinstance(value, list):
        return [_name_class(each, names) for each in value]
    if value is None or value == -1:
        return ""
    return names[value] if 0 <= value < len(names) else str(value)
