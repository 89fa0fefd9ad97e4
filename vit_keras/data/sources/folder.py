"""Reads a folder of class folders, or a table of files and labels."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vit_keras.data.dataset.holdout import describe_splits_drawn, split_indices
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import Encoded, EncodedSplit
from vit_keras.data.images.decode import read_unchanged
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.scan.inspection import Limits
from vit_keras.data.scan.listing import Listing, list_folder
from vit_keras.data.scan.manifest import Manifest
from vit_keras.data.scan.scan import scan
from vit_keras.data.sources.table import list_table
from vit_keras.data.split_names import SPLITS
from vit_keras.errors import InvalidArgumentError


def list_files(
    source: Path,
    reading: ReadOptions,
    class_names: tuple[str, ...] | None = None,
    *,
    task: str = "auto",
    label_separator: str = "|",
) -> Listing:
    """Returns the image files of a folder of class folders, or of a CSV file; raises `DataError` if there is no data set."""
    if source.is_file() and source.suffix.lower() in (".csv", ".tsv"):
        return list_table(source, class_names=class_names, splits=reading.splits)
    if task not in ("auto", "single_label"):
        raise InvalidArgumentError(
            f"{source}: task={task!r} needs a table of paths and labels; class folders state one class per image."
        )
    return list_folder(
        source,
        follow_links=reading.follow_links,
        drop_empty_classes=reading.drop_empty_classes,
        class_names=class_names,
        splits=reading.splits,
    )


def scan_source(
    source: Path,
    reading: ReadOptions,
    *,
    class_names: tuple[str, ...] | None = None,
    task: str = "auto",
    label_separator: str = "|",
    pixel_range: tuple[float, float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Listing, Manifest]:
    """Lists the image files of a folder or a CSV file, and checks each of them once."""
    listing = list_files(source, reading, class_names, task=task, label_separator=label_separator)
    limits = Limits(
        min_side=reading.min_side,
        max_aspect=reading.max_aspect,
        pixel_range=None if pixel_range is None else list(pixel_range),  # as JSON has it
    )
    return listing, scan(listing, limits=limits, on_progress=on_progress)


def read_folder(
    source: Path,
    *,
    preprocessing: Preprocessing,
    rates: tuple[float, float] = (0.1, 0.1),
    seed: int = 0,
    reading: ReadOptions | None = None,
    class_names: tuple[str, ...] | None = None,
    task: str = "auto",
    label_separator: str = "|",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Returns the images of `FOLDER/CLASS/*.jpg`, of `FOLDER/train/CLASS/*.jpg` and its siblings, or of a CSV file.

    Every file is decoded once, in worker processes; unreadable files are left out and named in `notes`. Splits that are missing
    are drawn from the training images, stratified, with identical files in the same split. Nothing in the folder is changed.
    """
    reading = reading or ReadOptions()
    _, manifest = scan_source(
        source,
        reading,
        class_names=class_names,
        task=task,
        label_separator=label_separator,
        pixel_range=preprocessing.pixel_range,
        on_progress=on_progress,
    )
    manifest.check_limit(max_error_rate=reading.max_error_rate, on_error=reading.on_error)
    manifest = replace(manifest, root=Path(os.path.abspath(manifest.root)))  # also valid after os.chdir
    files = ManifestFiles(manifest=manifest, places=np.arange(len(manifest)))
    whole = EncodedSplit(files, manifest.labels, preprocessing, reading.cache, reading.max_error_rate)
    places = {
        split: np.flatnonzero(manifest.splits == number)
        for number, split in enumerate(SPLITS)
        if (manifest.splits == number).any()
    }
    train = places.get("train", np.flatnonzero(manifest.splits < 0))
    missing = tuple(split for split in ("test", "validation") if split not in places)
    _, duplicate_ids = np.unique(manifest.columns.sha256[train], axis=0, return_inverse=True)
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
        name=str(source),
        class_names=manifest.class_names,
        splits={split: whole.subset(indices) for split, indices in places.items()},
        seed=seed,
        notes=tuple(f"{manifest.root / path}: {reason}" for path, reason in [*left_out, *manifest.skipped]),
        task=manifest.task,
        decisions=(*manifest.decisions, *manifest.describe_left_out(), *manifest.describe_nearly_black(), *said),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class ManifestFiles(Encoded):
    """Usable files of a manifest; reading a file that has changed since it was checked is an error."""

    manifest: Manifest

    def name(self, index: int) -> str:
        """Returns the path."""
        return str(self.manifest.root / self.manifest.paths[int(self.places[index])])

    def on_disk(self, index: int) -> tuple[str, int, int]:
        """Returns path, size (bytes) and modification time (ns) at the check."""
        place, columns = self.places[index], self.manifest.columns
        return self.name(index), int(columns.sizes[place]), int(columns.mtimes[place])

    def read(self, index: int) -> bytes:
        """Returns the bytes; raises `StorageError` or `DataError` if the file is gone or has changed."""
        path, size, mtime_ns = self.on_disk(index)
        return read_unchanged(Path(path), size, mtime_ns)

    def hashes(self) -> list[bytes]:
        """Returns the SHA-256 of the content of each file, from the check."""
        return [digest.tobytes() for digest in self.manifest.columns.sha256[self.places]]
