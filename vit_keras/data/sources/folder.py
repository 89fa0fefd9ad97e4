"""Reads a folder of class folders, shards, or tables of files and labels."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import describe_splits_drawn, split_indices
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import Encoded, EncodedSplit
from vit_keras.data.images.decode import FilePart
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.scan.inspection import Limits
from vit_keras.data.scan.limiting import limit_listing
from vit_keras.data.scan.listing import Listing, list_folder
from vit_keras.data.scan.manifest import Manifest
from vit_keras.data.scan.run_process import share_errors_of_run
from vit_keras.data.scan.scan import scan
from vit_keras.data.scan.walk import is_ignored
from vit_keras.data.shards.list_shards import list_shards
from vit_keras.data.shards.shard_files import find_shards, name_source
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tables.columns import ColumnError
from vit_keras.data.tables.folder_tables import find_folder_tables
from vit_keras.data.tables.list_tables import are_tables, list_tables
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.read_table import SUFFIXES
from vit_keras.errors import DataError, InvalidArgumentError

_ARCHIVES = (".zip", ".7z", ".rar")  # compressed tar files are refused as shards


def list_files(
    source: Any,
    reading: ReadOptions,
    *,
    tables: TableOptions | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Listing:
    """Returns the images of a folder, of shards, of a table, or of one table per split.

    A folder may have class folders, or tables that say which of its images have which labels (`find_folder_tables`).

    Raises:
        DataError: There is no data set, or it can't be used.
        InvalidArgumentError: An option of tables is given for class folders.
    """
    with share_errors_of_run():  # a folder that one host lacks, or a full disk where shards are indexed
        return _list_files(source, reading, tables or TableOptions(), class_names)


def _list_files(
    source: Any, reading: ReadOptions, tables: TableOptions, class_names: tuple[str, ...] | None
) -> Listing:
    shards = find_shards(source, reading.splits)
    if shards is not None:
        return list_shards(shards, options=tables, class_names=class_names, splits=reading.splits)
    if are_tables(source):
        return list_tables(source, options=tables, class_names=class_names, splits=reading.splits)
    source = Path(source)
    if source.is_file():
        hint = " Unpack the archive first." if source.suffix.lower() in _ARCHIVES else ""
        raise DataError(
            f"{source}: neither a folder, a table nor a shard; the names of tables end in {', '.join(SUFFIXES)}, those of shards in "
            f".tar, .tfrecord or .parquet.{hint}"
        )
    unread: tuple[str, ...] = ()
    found = find_folder_tables(source, reading.splits) if source.is_dir() else None
    if found is not None:
        stated = reading.splits if isinstance(found, Path) else None
        try:
            listing = list_tables(found, options=tables, class_names=class_names, splits=stated, drop_unlabeled=True)
            return replace(listing, decisions=(f"labels read from {_name(found, source)}", *listing.decisions))
        except ColumnError as error:
            if tables.stated or not _has_folders(source):
                raise
            unread = (f"class folders read, and not {_name(found, source)}: {str(error).splitlines()[0]}",)
    given = [*(f"{name}=..." for name in tables.stated)]
    if tables.task not in ("auto", "single_label"):
        given.append(f"task={tables.task!r}")
    if given and source.is_dir():
        raise InvalidArgumentError(
            f"{source}: {', '.join(given)} is for a table of files and labels; class folders state one class per image. Pass the table, "
            "or leave it out."
        )
    listing = list_folder(
        source,
        follow_links=reading.follow_links,
        drop_empty_classes=reading.drop_empty_classes,
        class_names=class_names,
        splits=reading.splits,
    )
    return replace(listing, decisions=(*unread, *listing.decisions))


def _name(found: Path | Mapping[str, Path], folder: Path) -> str:
    """Returns the names of tables in a folder."""
    paths = [found] if isinstance(found, Path) else found.values()
    return ", ".join(path.relative_to(folder).as_posix() for path in paths)


def _has_folders(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in os.listdir(folder) if not is_ignored(name))


def scan_source(
    source: Any,
    reading: ReadOptions,
    *,
    tables: TableOptions | None = None,
    class_names: tuple[str, ...] | None = None,
    pixel_range: tuple[float, float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Listing, Manifest]:
    """Lists the image files of a folder or of tables, and checks each of them once."""
    listing = list_files(source, reading, tables=tables, class_names=class_names)
    return listing, scan_listing(listing, reading, pixel_range=pixel_range, on_progress=on_progress)


def scan_listing(
    listing: Listing,
    reading: ReadOptions,
    *,
    pixel_range: tuple[float, float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Checks each file of a listing once."""
    limits = Limits(
        min_side=reading.min_side,
        max_aspect=reading.max_aspect,
        pixel_range=None if pixel_range is None else list(pixel_range),  # as JSON has it
    )
    return scan(listing, limits=limits, on_progress=on_progress)


def open_files(
    source: Any,
    *,
    preprocessing: Preprocessing,
    reading: ReadOptions | None = None,
    tables: TableOptions | None = None,
    class_names: tuple[str, ...] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Manifest, EncodedSplit]:
    """Returns what is known of the files of a folder or of tables, and all usable images, whatever their split."""
    reading = reading or ReadOptions()
    listing = list_files(source, reading, tables=tables, class_names=class_names)
    return open_listing(listing, preprocessing, reading, on_progress=on_progress)


def open_listing(
    listing: Listing,
    preprocessing: Preprocessing,
    reading: ReadOptions,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Manifest, EncodedSplit]:
    """Returns what is known of the files of a listing, and all usable images, whatever their split."""
    manifest = scan_listing(listing, reading, pixel_range=preprocessing.pixel_range, on_progress=on_progress)
    manifest.check_limit(max_error_rate=reading.max_error_rate, on_error=reading.on_error)
    manifest = replace(manifest, root=Path(os.path.abspath(manifest.root)))  # also valid after os.chdir
    files = ManifestFiles(manifest=manifest, places=np.arange(len(manifest)))
    return manifest, EncodedSplit(files, manifest.labels, preprocessing, reading.cache, reading.max_error_rate)


def read_folder(
    source: Any,
    *,
    preprocessing: Preprocessing,
    rates: tuple[float, float] = (0.1, 0.1),
    seed: int = 0,
    reading: ReadOptions | None = None,
    tables: TableOptions | None = None,
    class_names: tuple[str, ...] | None = None,
    limit: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Returns the images of `FOLDER/CLASS/*.jpg`, of `FOLDER/train/CLASS/*.jpg` and its siblings, or of tables.

    Every file is decoded once, in worker processes; unreadable files are left out and named in `notes`. Splits that are missing
    are drawn from the training images, stratified, with identical files in the same split. Nothing in the folder is changed.
    With a `limit`, no more files of a long list are decoded than that many images of each split need.
    """
    reading = reading or ReadOptions()
    listing = list_files(source, reading, tables=tables, class_names=class_names)
    if limit is not None:
        drawn_rates = tuple(
            rate for split, rate in zip((1, 2), rates, strict=True) if rate and not (listing.splits == split).any()
        )
        listing = limit_listing(listing, limit=limit, rates=drawn_rates, seed=seed)
    manifest, whole = open_listing(listing, preprocessing, reading, on_progress=on_progress)
    places = {
        split: np.flatnonzero(manifest.splits == number)
        for number, split in enumerate(SPLITS)
        if (manifest.splits == number).any()
    }
    train = places.get("train", np.flatnonzero(manifest.splits < 0))
    missing = tuple(split for split in ("test", "validation") if split not in places)
    starts = np.ascontiguousarray(manifest.columns.sha256[train]).view(">u8")[
        :, 0
    ]  # 64 bits of SHA-256 tell files apart
    _, duplicate_ids = np.unique(starts, return_inverse=True)
    drawn = split_indices(
        manifest.labels[train],
        manifest.class_names,
        missing,
        rates=rates,
        seed=seed,
        duplicate_ids=duplicate_ids.reshape(-1),
    )
    said = describe_splits_drawn(manifest.labels[train], manifest.class_names, drawn, missing)
    places |= {split: train[indices] for split, indices in drawn.items()}
    left_out = [(item.path, item.reason) for item in manifest.quarantined]
    return ImageData(
        name=name_source(source),
        class_names=manifest.class_names,
        splits={split: whole.subset(indices) for split, indices in places.items()},
        seed=seed,
        notes=tuple(f"{manifest.root / path}: {reason}" for path, reason in [*left_out, *manifest.skipped]),
        task=manifest.task,
        decisions=(*manifest.decisions, *manifest.describe_left_out(), *manifest.describe_nearly_black(), *said),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class ManifestFiles(Encoded):
    """Usable images of a manifest, files or parts of shards; reading a file that has changed since it was checked is an error."""

    manifest: Manifest

    def name(self, index: int) -> str:
        """Returns the path."""
        return str(self.manifest.root / self.manifest.paths[int(self.places[index])])

    def on_disk(self, index: int) -> FilePart:
        """Returns where the bytes are in a file."""
        place, columns = int(self.places[index]), self.manifest.columns
        path, offset, length = self.manifest.find_part(place)
        return FilePart(path, int(columns.sizes[place]), int(columns.mtimes[place]), offset, length, self.name(index))

    def read(self, index: int) -> bytes:
        """Returns the bytes; raises `StorageError` or `DataError` if the file is gone or has changed."""
        return self.on_disk(index).read()

    def hashes(self) -> list[bytes]:
        """Returns the SHA-256 of the content of each file, from the check."""
        return [digest.tobytes() for digest in self.manifest.columns.sha256[self.places]]
