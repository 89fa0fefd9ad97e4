"""A split of a data set: labeled images, either decoded or still encoded in files."""

import functools
import hashlib
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

import numpy as np

from vit_keras.data.dataset.mapped_images import MappedImages
from vit_keras.data.images.cache import CACHES, cache_images
from vit_keras.data.images.decode import FilePart, Picture
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.tasks import labels_bytes
from vit_keras.errors import DataError, InvalidArgumentError, TooManyBadFilesError, VitKerasError
from vit_keras.packing import unpack_image

_SUBSTITUTES = 8  # files tried in place of an unreadable one

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Split:
    """Decoded images with labels, in memory or memory-mapped.

    Args:
        images: `(count, height, width, channels)`, uint8, pixels 0..255; or `MappedImages`, which stay on disk.
        labels: By task: `(count,)`, integers, indices into the class names; `(count, classes)`, uint8, 0 or 1; or
            `(count, targets)`, floating point.
        is_packed: Whether the images are packed (`vit_keras.packing`).

    Raises:
        DataError: The shapes or dtypes are others.
    """

    images: np.ndarray | MappedImages
    labels: np.ndarray
    is_packed: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.images, np.ndarray | MappedImages) or not isinstance(self.labels, np.ndarray):
            raise DataError(
                "Split: expected a uint8 numpy array of images and an integer numpy array of labels, got "
                f"{type(self.images).__name__} and {type(self.labels).__name__}; convert them with np.asarray."
            )
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                "Split: images must be uint8 pixels 0..255 of shape (count, height, width, channels), got "
                f"{self.images.dtype} of shape {self.images.shape}."
            )
        kinds = {1: "iu", 2: "uf"}.get(self.labels.ndim, "")  # 2: 0/1 columns per class, or numbers to predict
        if self.labels.shape[:1] != self.images.shape[:1] or self.labels.dtype.kind not in kinds:
            raise DataError(
                f"Split: labels must be one integer per image, of shape {self.images.shape[:1]}, got {self.labels.dtype} of shape "
                f"{self.labels.shape}; or one row per image, of uint8 0 and 1 or of floating point numbers."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (px) and channels."""
        return self.images.shape[1:]

    @property
    def prepared(self) -> "Split":
        """The split itself: its images are decoded."""
        return self

    def image(self, index: int) -> np.ndarray:
        """Returns one image, `(height, width, channels)`, uint8."""
        chosen: np.ndarray = self.images[index]
        return chosen

    def picture(self, index: int) -> np.ndarray:
        """Returns one image to look at, `(height, width, channels)`, uint8: not packed."""
        return unpack_image(self.image(index)) if self.is_packed else self.image(index)

    def subset(self, indices: np.ndarray) -> "Split":
        """Returns the images at these indices (or of this mask), in this order."""
        if isinstance(self.images, MappedImages):
            return replace(self, images=self.images.subset(indices), labels=self.labels[indices])
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def hashes(self) -> list[bytes]:
        """Returns the SHA-256 of the pixels of each image."""
        return [hashlib.sha256(np.ascontiguousarray(self.image(index)).data).digest() for index in range(len(self))]

    @property
    def digest(self) -> bytes:
        """SHA-256 of all pixels and labels."""
        digest = hashlib.sha256()
        for part in self.images.chunks() if isinstance(self.images, MappedImages) else (self.images,):
            digest.update(np.ascontiguousarray(part).data)
        digest.update(labels_bytes(self.labels))
        return digest.digest()


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded(ABC):
    """Encoded images of a source, by index in `places`: files on disk, or records of a data set."""

    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def subset(self, indices: np.ndarray) -> Self:
        """Returns the images at these indices, in this order."""
        return replace(self, places=self.places[indices])

    @abstractmethod
    def name(self, index: int) -> str:
        """Returns the path or name, for messages."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Returns the bytes; raises a `VitKerasError` if they can't be read."""

    @abstractmethod
    def on_disk(self, index: int) -> FilePart | None:
        """Returns where the bytes are in a file; None if they are in memory, or in a record of another library's."""

    def hashes(self) -> list[bytes]:
        """Returns the SHA-256 of the content of each image."""
        return [hashlib.sha256(self.read(index)).digest() for index in range(len(self))]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the content of all images."""
        return hashlib.sha256(b"".join(self.hashes())).digest()


@dataclass(frozen=True, eq=False)
class EncodedSplit:
    """Image files with labels, decoded when they are read.

    A file that has become unreadable is replaced by another of its class, always the same one, with a warning.

    Args:
        files: The encoded images.
        labels: By task: `(count,)`, int32, indices into the class names; `(count, classes)`, uint8, 0 or 1; or `(count, targets)`,
            float32.
        preprocessing: Size and rule of resizing.
        cache: Where to keep decoded images: "memory", "disk", "none", or "auto" for the first that has room.
        max_error_rate: Largest fraction of the files that may be replaced; one file may always be.
    """

    files: Encoded
    labels: np.ndarray
    preprocessing: Preprocessing
    cache: str = "auto"
    max_error_rate: float = 0.01
    replaced: dict[int, str] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise InvalidArgumentError(f"cache={self.cache!r} is none of {', '.join(CACHES)}.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (px) and channels after preprocessing."""
        return self.preprocessing.image_shape

    @property
    def is_packed(self) -> bool:
        """Whether the images are packed."""
        return self.preprocessing.packs

    def picture(self, index: int) -> np.ndarray:
        """Returns one image to look at, `(height, width, channels)`, uint8: not packed."""
        return unpack_image(self.image(index)) if self.is_packed else self.image(index)

    def image(self, index: int) -> np.ndarray:
        """Returns one preprocessed image, `(height, width, channels)`, uint8."""
        return self.decode(index, lambda picture: picture.preprocess(self.preprocessing))

    def subset(self, indices: np.ndarray) -> "EncodedSplit":
        """Returns the images at these indices, in this order."""
        return EncodedSplit(
            self.files.subset(indices), self.labels[indices], self.preprocessing, self.cache, self.max_error_rate
        )

    def hashes(self) -> list[bytes]:
        """Returns the SHA-256 of each file."""
        return self.files.hashes()

    @property
    def digest(self) -> bytes:
        """SHA-256 of all files, labels and the preprocessing."""
        digest = hashlib.sha256(self.files.digest)
        digest.update(labels_bytes(self.labels))
        # The class was named Resizing when run directories were first written; their fingerprints stay valid.
        digest.update(repr(self.preprocessing).replace("Preprocessing", "Resizing", 1).encode())
        # Its repr leaves these out.
        for value in (
            self.preprocessing.pixel_range,
            self.preprocessing.patch_size,
            self.preprocessing.max_num_patches,
        ):
            if value is not None:
                digest.update(repr(value).encode())
        return digest.digest()

    def decode(self, index: int, function: Callable[[Picture], Result]) -> Result:
        """Applies a function to a file, or to a substitute of the same class; raises `TooManyBadFilesError` if too many fail."""
        try:
            return function(Picture(self.files.read(index), self.files.name(index)))
        except VitKerasError as error:
            self._record_failure(index, error)
        same_class = self._find_alike(index)
        for other in np.random.Generator(np.random.Philox(key=index)).permutation(same_class)[:_SUBSTITUTES]:
            try:
                return function(Picture(self.files.read(int(other)), self.files.name(int(other))))
            except VitKerasError:
                continue
        raise TooManyBadFilesError(
            f"{self.replaced[index]} {_SUBSTITUTES} other images of its class could not be read either. Restore the files, or load "
            "the data again."
        )

    def _find_alike(self, index: int) -> np.ndarray:
        """Returns the indices of images with the label of one image; where a label is a row, of those with the nearest rows."""
        if self.labels.ndim == 1:
            return np.flatnonzero(self.labels == self.labels[index])
        labels = self.labels.astype("float64")
        distances = (np.abs(labels - labels[index]) / np.maximum(labels.std(axis=0), 1e-12)).sum(axis=1)
        return np.argsort(distances, kind="stable")[: _SUBSTITUTES + 1]

    def check_readable(self) -> None:
        """Raises `TooManyBadFilesError` if more than `max_error_rate` of the files have become unreadable."""
        if len(self.replaced) > max(1, self.max_error_rate * len(self)):
            listed = "\n  ".join(list(self.replaced.values())[:10])
            raise TooManyBadFilesError(
                f"{len(self.replaced)} of {len(self)} images can no longer be read, over the limit of {self.max_error_rate:.0%}:\n"
                f"  {listed}\nRestore the files, or load the data again to leave them out."
            )

    def _record_failure(self, index: int, error: VitKerasError) -> None:
        with self._lock:
            known = index in self.replaced
            self.replaced[index] = str(error)
        self.check_readable()
        if not known:
            warnings.warn(f"{error} Another image of its class replaces it.", stacklevel=2)

    @functools.cached_property
    def prepared(self) -> "Split | EncodedSplit":
        """All images decoded and preprocessed, cached as `cache` says; the split itself if they are not cached."""
        images = cache_images(self.image, (len(self), *self.image_shape), cache=self.cache, key=self.digest)
        return self if images is None else Split(images, self.labels, self.is_packed)
