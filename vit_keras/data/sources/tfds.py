"""Reads TensorFlow Datasets; their images stay encoded until they are used."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.dataset.holdout import describe_splits_drawn, split_indices
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.data.dataset.splits import Encoded, EncodedSplit, Split
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.preprocess import Preprocessing, to_pixels
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.sources.network import is_reachable
from vit_keras.data.sources.tfds_labels import LabelFeature, read_label_feature
from vit_keras.data.split_names import SPLITS, describe_splits, match_splits
from vit_keras.data.tasks import UNLABELED
from vit_keras.errors import DataError, StorageError
from vit_keras.presets import find_name
from vit_keras.runtime.tensorflow_host import stay_on_host
from vit_keras.validation import closest, list_words

_LARGEST_BYTES = 8 * 2**30


def find_builder(name: str, others: Sequence[str]) -> Any:
    """Returns the builder of `NAME`, `NAME/CONFIG`, `NAME:VERSION`, or of a folder that a builder has prepared.

    Suggests `others`, too, if there is none. A data set that would run its author's code is refused.
    """
    stay_on_host()
    import tensorflow_datasets as tfds

    try:
        if (Path(name) / "dataset_info.json").is_file():
            return tfds.builder_from_directory(name)
        _refuse_others(name)
        if not name:
            raise ValueError(name)
        return tfds.builder(name)
    except DataError:
        raise
    except (
        Exception
    ):  # TFDS raises many kinds of errors for bad names, AssertionError among them, some with a list of all names
        known = [*others, *tfds.list_builders(with_community_datasets=False)]
        raise _unknown(name, known) from None


def check_name(name: str, others: Sequence[str]) -> None:
    """Raises `DataError` where `find_builder` would for want of a data set of that name; needs neither TensorFlow nor Keras."""
    import tensorflow_datasets as tfds

    _refuse_others(name)
    base, known = re.split("[/:]", name)[0], tfds.list_builders(with_community_datasets=False)
    prepared = base != "" and Path(tfds.core.constants.DATA_DIR, base).is_dir()
    if not (base in known or prepared or Path(name, "dataset_info.json").is_file()):
        raise _unknown(name, [*others, *known])


def _refuse_others(name: str) -> None:
    """Raises `DataError` for a model in place of a data set, and for a data set of other authors."""
    if find_name(name) is not None:
        raise DataError(f"{name!r} is a model and no data set: the model is named first, then the images.")
    if re.match(r"\w+:[a-zA-Z]", name):
        raise DataError(f"{name!r} is a community data set: loading it would run its author's code. It is not loaded.")


def _unknown(name: str, known: Sequence[str]) -> DataError:
    return DataError(
        f"There is no data set {name!r}: no such folder, and no TensorFlow Datasets name. The closest names are "
        f"{list_words(closest(name, known))}."
    )


def read_tfds(
    builder: Any,
    *,
    choose_preprocessing: Callable[[int], Preprocessing | None],
    rates: tuple[float, float],
    seed: int,
    limit: int | None,
    reading: ReadOptions,
    needs_labels: bool = True,
) -> ImageData:
    """Returns the images of a builder, which downloads and prepares them first if necessary.

    The images stay encoded until they are used: in memory, or on disk if the builder was prepared as ArrayRecord. With a
    limit, twice as many are read, to have enough for the missing splits. Unless it `needs_labels`, images without labels can be read, too.
    """
    features, name = builder.info.features, builder.name
    label = read_label_feature(features["label"]) if {"image", "label"} <= set(features) else None
    if label is None and "image" in features and not needs_labels:
        label = LabelFeature(UNLABELED, ())
    if label is None:
        raise DataError(
            f"The data set {name!r} has the features {list_words(sorted(features))}; expected an image and a label with class names: one, a sequence, "
            "or floating point numbers."
        )
    dtype = np.dtype(features["image"].np_dtype).name
    if dtype != "uint8":
        raise DataError(
            f"The images of {name!r} are {dtype}; only uint8 can be loaded by name. Pass a mapping of each split to "
            "`builder.as_dataset(split=..., as_supervised=True)`, with pixel_range=."
        )
    try:
        with _patience(builder):
            builder.download_and_prepare()
    except DataError:
        raise
    except Exception as error:  # the downloads of each data set fail in their own way
        raise DataError(
            f"{name!r} is not prepared on this machine and could not be downloaded: {error}. Prepare it on a machine with a network, "
            "and set TFDS_DATA_DIR to that folder."
        ) from error
    names = match_splits(builder.info.splits, f"The data set {name!r}", reading.splits)
    if reading.splits is not None and not names:
        names = {"train": "all"}  # draws all splits at random
    if "train" not in names:
        raise DataError(f"The data set {name!r} has no training split, only {list_words(sorted(builder.info.splits))}.")
    preprocessing = choose_preprocessing(features["image"].shape[-1] or 3)
    splits: dict[str, Split | EncodedSplit] = {
        split: _read_split(builder, names[split], label, preprocessing, limit=limit, reading=reading)
        for split in SPLITS
        if split in names
    }
    unused = sorted(set(builder.info.splits) - set(names.values())) if names != {"train": "all"} else []
    decisions = describe_splits({name: split for split, name in names.items()}, "names")
    if unused:
        decisions += (f"splits not used: {', '.join(unused)}",)
    train, class_names = splits["train"], label.names
    missing = tuple(split for split in ("test", "validation") if split not in splits)
    places = split_indices(train.labels, class_names or ("image",), missing, rates=rates, seed=seed)
    decisions += describe_splits_drawn(train.labels, class_names or ("image",), places, missing)
    splits |= {split: train.subset(chosen) for split, chosen in places.items()}
    return ImageData(name=name, class_names=class_names, splits=splits, decisions=decisions, task=label.task)


@contextlib.contextmanager
def _patience(builder: Any) -> Iterator[None]:
    """Keeps TFDS from trying again for minutes where no server of a data set that must be downloaded can be reached.

    Raises `DataError`, unless there are earlier downloads, which may be all that is needed.
    """
    if builder.is_prepared() or is_reachable(builder.url_infos or ()):
        yield
        return
    downloads = Path(builder.data_dir.removesuffix(str(builder.info.full_name))) / "downloads"
    if not (downloads.is_dir() and any(downloads.iterdir())):
        raise DataError(
            f"{builder.name!r} is not prepared on this machine, and its servers can't be reached from here. Prepare it on a machine with "
            "a network, and set TFDS_DATA_DIR to that folder."
        )
    from tensorflow_datasets.core.download import downloader

    before, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 0
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples(Encoded):
    """Encoded images of a split of TensorFlow Datasets: bytes, or examples with bytes under "image"."""

    contents: Sequence[Any]
    source: str

    def name(self, index: int) -> str:
        """Returns the split and the number of the example."""
        return f"{self.source}, example {self.places[index]}"

    def read(self, index: int) -> bytes:
        """Returns the bytes; raises `StorageError` if they can't be read."""
        try:
            example = self.contents[int(self.places[index])]
        except (OSError, RuntimeError, IndexError, ValueError) as error:
            raise StorageError(f"{self.name(index)}: could not be read ({error}).") from error
        return example if isinstance(example, bytes) else bytes(example["image"])

    def on_disk(self, index: int) -> None:
        """Returns None: an example is not a file of its own."""


def _read_split(
    builder: Any,
    split: str,
    label: LabelFeature,
    preprocessing: Preprocessing | None,
    *,
    limit: int | None,
    reading: ReadOptions,
) -> Split | EncodedSplit:
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()}
    is_on_disk = builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    contents: Sequence[Any]
    if is_on_disk and preprocessing is not None and limit is None:
        contents = builder.as_data_source(split=split, decoders=decoders)
        labels = label.stack(example.get("label") for example in contents)
    else:
        contents, given = _read_contents(builder, split, None if limit is None else 2 * limit, decoders)
        labels = label.stack(given)
    files = Examples(contents=contents, source=f"{builder.name}, split {split}", places=np.arange(len(contents)))
    if preprocessing is None:
        return _decode_all(builder, files, labels)
    return EncodedSplit(files, labels, preprocessing, reading.cache, reading.max_error_rate)


def _read_contents(builder: Any, split: str, limit: int | None, decoders: Any) -> tuple[list[bytes], list[Any]]:
    contents: list[bytes] = []
    labels: list[Any] = []
    size = 0
    examples = builder.as_dataset(split=split, decoders=decoders)
    for example in examples if limit is None else examples.take(limit):
        contents.append(example["image"].numpy())
        labels.append(example["label"].numpy() if "label" in example else None)
        size += len(contents[-1])
        if size > _LARGEST_BYTES:
            raise DataError(
                f"The {split} split of {builder.name!r} takes over {_LARGEST_BYTES / 2**30:.0f} GiB in memory: pass a limit, or prepare "
                "it with file_format='array_record', which is read from disk."
            )
    return contents, labels


def _decode_all(builder: Any, files: Examples, labels: np.ndarray) -> Split:
    channels = builder.info.features["image"].shape[-1]
    images = [
        to_pixels(Picture(files.read(index), files.name(index)).decode(channels=channels))
        for index in range(len(files))
    ]
    if len({image.shape for image in images}) > 1:
        raise DataError(f"The images of {builder.name!r} have different sizes; pass image_size.")
    return Split(np.stack(images), labels)
