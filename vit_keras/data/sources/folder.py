"""Reads a folder of class folders, or a table of files and labels."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vit_keras.data.dataset.holdout import parted
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.doctor.findings import nearly_black
from vit_keras.data.images.decode import read_unchanged
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.scan.inspection import Limits
from vit_keras.data.scan.listing import Listing, list_folder
from vit_keras.data.scan.manifest import Manifest
from vit_keras.data.scan.scan import scan
from vit_keras.data.sources.split_names import SPLITS
from vit_keras.data.sources.table import list_table

Progress = Callable[[int, int], None]


def list_files(source: Path, reading: ReadOptions, class_names: tuple[str, ...] | None = None) -> Listing:
    """Returns the image files of a folder of class folders, or of a table of files and labels.

    Args:
        source: A folder, or a CSV file.
        reading: Whether links are followed and empty classes dropped, and which name is which split.
        class_names: The classes in the order of the labels; None for natural order.

    Raises:
        DataError: It makes no data set.
    """
    if source.is_file() and source.suffix.lower() in (".csv", ".tsv"):
        return list_table(source, class_names=class_names, splits=reading.splits)
    return list_folder(
        source,
        follow_links=reading.follow_links,
        drop_empty_classes=reading.drop_empty_classes,
        class_names=class_names,
        splits=reading.splits,
    )


def read_folder(
    source: Path,
    *,
    preprocessing: Preprocessing,
    rates: tuple[float, float] = (0.1, 0.1),
    seed: int = 0,
    reading: ReadOptions | None = None,
    class_names: tuple[str, ...] | None = None,
    on_progress: Progress | None = None,
) -> ImageData:
    """Returns the images of `FOLDER/CLASS/*.jpg`, of `FOLDER/train/CLASS/*.jpg` and its siblings, or of a table.

    Every file is decoded once, in processes of their own; what cannot be used is left out and named in `notes`, and training
    reads what was found good alone. Splits that are not there are held out of the training images, stratified and seeded.

    Args:
        source: The folder, or a CSV file; nothing in it is changed.
        preprocessing: How images are brought to one size.
        rates: Fractions of each class held out for validation and test.
        seed: Decides what is held out.
        reading: What becomes of files that can't be used.
        class_names: The classes in the order of the labels; None for natural order.
        on_progress: Called with the files checked and all there are.

    Raises:
        DataError: It makes no data set, or too many files can't be used.
        StorageError: The folder can't be read.
    """
    reading = reading or ReadOptions()
    listing = list_files(source, reading, class_names)
    limits = Limits(min_side=reading.min_side, max_aspect=reading.max_aspect)
    manifest = scan(listing, limits=limits, on_progress=on_progress)
    manifest.check_limit(max_error_rate=reading.max_error_rate, on_error=reading.on_error)
    return data_of(manifest, name=str(source), preprocessing=preprocessing, rates=rates, seed=seed, reading=reading)


def data_of(
    manifest: Manifest,
    *,
    name: str,
    preprocessing: Preprocessing,
    rates: tuple[float, float],
    seed: int,
    reading: ReadOptions,
) -> ImageData:
    """Returns the usable images of a manifest as a data set.

    Args:
        manifest: What was found of each file.
        name: Where it is from.
        preprocessing: How images are brought to one size.
        rates: Fractions of each class held out for validation and test where these splits are missing.
        seed: Decides what is held out.
        reading: Where decoded images are kept, and how many may be replaced.

    Raises:
        DataError: A class has too few images.
    """
    manifest = replace(manifest, root=Path(os.path.abspath(manifest.root)))  # wherever the program goes from here
    places = {
        split: np.flatnonzero(manifest.splits == number)
        for number, split in enumerate(SPLITS)
        if (manifest.splits == number).any()
    }
    free = places.get("train", np.flatnonzero(manifest.splits < 0))
    missing = tuple(split for split in ("test", "validation") if split not in places)
    _, copies_of = np.unique(manifest.columns.sha256[free], axis=0, return_inverse=True)
    parts = parted(
        manifest.labels[free], manifest.class_names, missing, rates=rates, seed=seed, copies_of=copies_of.reshape(-1)
    )
    places |= {split: free[chosen] for split, chosen in parts.items()}
    splits: dict[str, Split | EncodedSplit] = {
        split: EncodedSplit(
            ManifestFiles(manifest, chosen),
            manifest.labels[chosen],
            preprocessing,
            reading.cache,
            reading.max_error_rate,
        )
        for split, chosen in places.items()
    }
    left_out = [(bad.path, bad.reason) for bad in manifest.quarantined]
    notes = tuple(f"{manifest.root / path}: {reason}" for path, reason in [*left_out, *manifest.skipped])
    return ImageData(
        name=name,
        class_names=manifest.class_names,
        splits=splits,
        seed=seed,
        notes=notes,
        decisions=(*manifest.decisions, *_left_out(manifest), *(finding.text for finding in nearly_black(manifest))),
    )


def _left_out(manifest: Manifest) -> tuple[str, ...]:
    """Returns what was left out by reason and count, in words."""
    counts = manifest.left_out.most_common()
    return (f"left out: {'; '.join(f'{count:,} {reason}' for reason, count in counts)}",) if counts else ()


@dataclass(frozen=True, eq=False)
class ManifestFiles:
    """Files that a manifest found good, read as long as they are what they were.

    Args:
        manifest: What was found.
        places: Which of its files.
    """

    manifest: Manifest
    places: np.ndarray

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self.places)

    def _path(self, index: int) -> Path:
        return self.manifest.root / self.manifest.paths[int(self.places[index])]

    def name(self, index: int) -> str:
        """Returns a file's path."""
        return str(self._path(index))

    def on_disk(self, index: int) -> tuple[str, int, int]:
        """Returns a file's path, bytes and time of change (ns) when it was checked."""
        place, columns = self.places[index], self.manifest.columns
        return str(self._path(index)), int(columns.sizes[place]), int(columns.mtimes[place])

    def read(self, index: int) -> bytes:
        """Returns a file's bytes.

        Raises:
            StorageError: It is gone.
            DataError: It changed since it was found good.
        """
        path, size, mtime_ns = self.on_disk(index)
        return read_unchanged(Path(path), size, mtime_ns)

    def subset(self, indices: np.ndarray) -> "ManifestFiles":
        """Returns the files at these places, in this order."""
        return ManifestFiles(self.manifest, self.places[indices])

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is in all files."""
        return hashlib.sha256(self.manifest.columns.sha256[self.places].tobytes()).digest()
