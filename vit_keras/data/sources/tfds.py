"""TensorFlow Datasets, read as the files they were made of."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import parted
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.preprocess import Preprocessing, pixels
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.sources.split_names import SPLITS, decided, named_splits
from vit_keras.errors import DataError, StorageError
from vit_keras.runtime.tensorflow_host import stay_on_host
from vit_keras.validation import closest

_LARGEST_BYTES = 8 * 2**30


def builder_of(name: str, others: Sequence[str]) -> Any:
    """Returns the builder of a name, or of a folder that a builder has prepared.

    Args:
        name: As TensorFlow Datasets spells it: `NAME`, `NAME/CONFIG`, `NAME:VERSION`; or a folder with a `dataset_info.json`.
        others: Names of other sources, for the proposals of a mistyped one.

    Raises:
        DataError: There is none, or it would run its author's code.
    """
    stay_on_host()
    import tensorflow_datasets as tfds

    try:
        if (Path(name) / "dataset_info.json").is_file():
            return tfds.builder_from_directory(name)
        if re.match(r"\w+:[a-zA-Z]", name):
            raise DataError(
                f"{name!r} names a community data set, which would run its author's code; it is not loaded."
            )
        if not name:
            raise ValueError(name)
        return tfds.builder(name)
    except DataError:
        raise
    except Exception as error:  # TFDS answers bad names with errors of many kinds, assertions among them
        known = [*others, *tfds.list_builders(with_community_datasets=False)]
        raise DataError(
            f"There is no data set {name!r}: no such folder, and no TensorFlow Datasets name. The closest names are "
            f"{closest(name, known)}."
        ) from error


def read_tfds(
    builder: Any,
    *,
    rule: Callable[[int], Preprocessing | None],
    rates: tuple[float, float],
    seed: int,
    limit: int | None,
    reading: ReadOptions,
) -> ImageData:
    """Returns what a builder has prepared, or now downloads and prepares.

    The images stay encoded until they are asked for: in memory, or, where the builder was prepared as ArrayRecord, on disk.

    Args:
        builder: Of `tfds.builder` and its kin.
        rule: Returns how images of so many channels are brought to one size; None where all have one.
        rates: Fractions of each class held out for validation and test where these splits are missing.
        seed: Decides what is held out.
        limit: Most images of each split; twice as many are read, since some are held out. None for all.
        reading: Where decoded images are kept, and how many may be replaced.

    Raises:
        DataError: It has no images with labels, is over 8 GiB in memory, or could not be prepared.
    """
    features, name = builder.info.features, builder.name
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise DataError(f"The data set {name!r} has {sorted(features)}; an image and a label with names are needed.")
    dtype = np.dtype(features["image"].np_dtype).name
    if dtype != "uint8":
        raise DataError(
            f"The images of {name!r} are {dtype}, and only uint8 is read as it is stored: give load the "
            "`builder.as_dataset(split=..., as_supervised=True)` of each split in a mapping, with pixel_range=."
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # every source's downloads fail in their own way
        raise DataError(
            f"{name!r} is not prepared on this machine and could not be downloaded: {error}. Prepare it where there is a network, "
            "and set TFDS_DATA_DIR to that folder."
        ) from error
    called = named_splits(builder.info.splits, f"The data set {name!r}", reading.splits)
    if reading.splits is not None and not called:  # no splits: all there is is parted anew
        called = {"train": "all"}
    if "train" not in called:
        raise DataError(f"The data set {name!r} has no training split: {sorted(builder.info.splits)}.")
    preprocessing = rule(features["image"].shape[-1] or 3)
    splits: dict[str, Split | EncodedSplit] = {
        split: _split(builder, called[split], preprocessing, limit, reading) for split in SPLITS if split in called
    }
    unused = sorted(set(builder.info.splits) - set(called.values())) if called != {"train": "all"} else []
    decisions = decided({name: split for split, name in called.items()}, "names") + (
        (f"splits not used: {', '.join(unused)}",) if unused else ()
    )
    train, names = splits["train"], tuple(features["label"].names)
    missing = tuple(split for split in ("test", "validation") if split not in splits)
    places = parted(train.labels, names, missing, rates=rates, seed=seed)
    return ImageData(
        name=name,
        class_names=names,
        splits=splits | {split: train.subset(chosen) for split, chosen in places.items()},
        decisions=decisions,
    )


@dataclass(frozen=True, eq=False)
class Examples:
    """Encoded images of a data set, as a sequence of examples or of bytes.

    Args:
        contents: Bytes, or examples with bytes under "image".
        place: What messages call them all.
        places: Which of them.
    """

    contents: Sequence[Any]
    place: str
    places: np.ndarray

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self.places)

    def name(self, index: int) -> str:
        """Returns which example a file is."""
        return f"{self.place}, example {self.places[index]}"

    def read(self, index: int) -> bytes:
        """Returns a file's bytes.

        Raises:
            StorageError: It can't be read.
        """
        try:
            example = self.contents[int(self.places[index])]
        except (OSError, RuntimeError, IndexError, ValueError) as error:
            raise StorageError(f"{self.name(index)}: could not be read ({error}).") from error
        return example if isinstance(example, bytes) else bytes(example["image"])

    def on_disk(self, index: int) -> None:
        """Returns None: an example is no file of its own."""

    def subset(self, indices: np.ndarray) -> "Examples":
        """Returns the files at these places, in this order."""
        return Examples(self.contents, self.place, self.places[indices])

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is in all files."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            digest.update(hashlib.sha256(self.read(index)).digest())
        return digest.digest()


def _split(
    builder: Any, split: str, preprocessing: Preprocessing | None, limit: int | None, reading: ReadOptions
) -> Split | EncodedSplit:
    import tensorflow_datasets as tfds

    place = f"{builder.name}, split {split}"
    decoders = {"image": tfds.decode.SkipDecoding()}
    on_disk = builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    if on_disk and preprocessing is not None and limit is None:
        source = builder.as_data_source(split=split, decoders=decoders)
        labels = np.asarray([int(example["label"]) for example in source], dtype="int32")
        files = Examples(source, place, np.arange(len(source)))
        return EncodedSplit(files, labels, preprocessing, reading.cache, reading.max_error_rate)
    contents, numbers = _contents(builder, split, None if limit is None else 2 * limit, decoders)
    labels = np.asarray(numbers, dtype="int32")
    files = Examples(contents, place, np.arange(len(contents)))
    if preprocessing is None:
        return _as_they_are(builder, files, labels)
    return EncodedSplit(files, labels, preprocessing, reading.cache, reading.max_error_rate)


def _contents(builder: Any, split: str, most: int | None, decoders: Any) -> tuple[list[bytes], list[int]]:
    """Reads a split's encoded images into memory."""
    contents: list[bytes] = []
    labels: list[int] = []
    taken = 0
    examples = builder.as_dataset(split=split, decoders=decoders)
    for example in examples if most is None else examples.take(most):
        contents.append(example["image"].numpy())
        labels.append(int(example["label"]))
        taken += len(contents[-1])
        if taken > _LARGEST_BYTES:
            raise DataError(
                f"The {split} split of {builder.name!r} is over {_LARGEST_BYTES / 2**30:.0f} GiB in memory: give a limit, or prepare it "
                "with file_format='array_record', which is read from the disk."
            )
    return contents, labels


def _as_they_are(builder: Any, files: Examples, labels: np.ndarray) -> Split:
    channels = builder.info.features["image"].shape[-1]
    images = [
        pixels(Picture(files.read(index), files.name(index)).decode(channels=channels)) for index in range(len(files))
    ]
    if len({image.shape for image in images}) > 1:
        raise DataError(f"The images of {builder.name!r} have different sizes; give image_size.")
    return Split(np.stack(images), labels)
