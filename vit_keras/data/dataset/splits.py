"""A split of a data set: images with a label each, decoded already or still as files."""

import functools
import hashlib
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from vit_keras.data.images.cache import CACHES, kept
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.preprocess import Preprocessing, pixels
from vit_keras.errors import DataError, InvalidArgumentError, TooManyBadFilesError, VitKerasError

_SUBSTITUTES = 8  # files tried in place of one that cannot be read

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Split:
    """Images with a label each, decoded, in memory or memory-mapped.

    Args:
        images: `(count, height, width, channels)`, uint8, pixels 0..255.
        labels: `(count,)`, int32, each an index into the class names.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.images, np.ndarray) or not isinstance(self.labels, np.ndarray):
            raise DataError(
                f"Images must be a uint8 numpy array and labels a numpy array of whole numbers, not {type(self.images).__name__} "
                f"and {type(self.labels).__name__}."
            )
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                "Images must be uint8 pixels 0..255 of shape (count, height, width, channels); these are "
                f"{self.images.dtype} of shape {self.images.shape}."
            )
        if self.labels.shape != self.images.shape[:1] or not np.issubdtype(self.labels.dtype, np.integer):
            raise DataError(
                f"{len(self.images)} images need as many whole-number labels; these are {self.labels.dtype} of shape "
                f"{self.labels.shape}."
            )

    def __len__(self) -> int:
        """Returns how many images there are."""
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (px) and channels."""
        return self.images.shape[1:]

    @property
    def prepared(self) -> "Split":
        """Itself: all images are decoded."""
        return self

    def image(self, index: int) -> np.ndarray:
        """Returns one image, `(height, width, channels)`, uint8."""
        chosen: np.ndarray = self.images[index]
        return chosen

    def subset(self, indices: np.ndarray) -> "Split":
        """Returns the images at these places, in this order."""
        return Split(self.images[indices], self.labels[indices])

    @property
    def digest(self) -> bytes:
        """SHA-256 of every pixel and label."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(self.labels.astype("int32").tobytes())
        return digest.digest()


class Encoded(Protocol):
    """Image files by number, wherever they are."""

    def __len__(self) -> int:
        """Returns how many there are."""

    def name(self, index: int) -> str:
        """Returns what messages call a file."""

    def read(self, index: int) -> bytes:
        """Returns a file's bytes, or raises a `VitKerasError`."""

    def on_disk(self, index: int) -> tuple[str, int, int] | None:
        """Returns a file's path, bytes and time of change (ns) when it was checked; None for what is no file of its own."""

    def subset(self, indices: np.ndarray) -> "Encoded":
        """Returns the files at these places, in this order."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is in all files."""


@dataclass(frozen=True, eq=False)
class EncodedSplit:
    """Image files with a label each, decoded when they are asked for.

    A file that can't be read any more is replaced by another of its class, always the same, with a warning; more of them than
    `max_error_rate` end in an error.

    Args:
        files: The image files.
        labels: `(count,)`, int32, each an index into the class names.
        preprocessing: What brings them to one size.
        cache: Where decoded images are kept once they are all that is needed: "memory", "disk", "none", or "auto" for the first
            of them that has room.
        max_error_rate: Largest fraction of the files to be replaced; one may always be.
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
        """Returns how many images there are."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (px) and channels, as resized."""
        return (*self.preprocessing.image_size, self.preprocessing.channels)

    def image(self, index: int) -> np.ndarray:
        """Returns one image resized, `(height, width, channels)`, uint8."""
        return self.decoded(index, self._resized)

    def _resized(self, picture: Picture) -> np.ndarray:
        return pixels(self.preprocessing.apply(picture.decode(channels=self.preprocessing.channels)))

    def subset(self, indices: np.ndarray) -> "EncodedSplit":
        """Returns the images at these places, in this order."""
        return EncodedSplit(
            self.files.subset(indices), self.labels[indices], self.preprocessing, self.cache, self.max_error_rate
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of every file, label and the rule of preprocessing."""
        digest = hashlib.sha256(self.files.digest)
        digest.update(self.labels.astype("int32").tobytes())
        # Under the name the rule had when fingerprints were first written: those in run directories stay true.
        digest.update(repr(self.preprocessing).replace("Preprocessing", "Resizing", 1).encode())
        return digest.digest()

    def decoded(self, index: int, decode: Callable[[Picture], Result]) -> Result:
        """Returns what `decode` makes of a file, or of the one in its place.

        Raises:
            TooManyBadFilesError: Too many can't be read.
        """
        try:
            return decode(Picture(self.files.read(index), self.files.name(index)))
        except VitKerasError as error:
            self._complain(index, error)
        alike = np.flatnonzero(self.labels == self.labels[index])
        for other in np.random.Generator(np.random.Philox(key=index)).permutation(alike)[:_SUBSTITUTES]:
            try:
                return decode(Picture(self.files.read(int(other)), self.files.name(int(other))))
            except VitKerasError:
                continue
        raise TooManyBadFilesError(
            f"{self.replaced[index]} Nor could {_SUBSTITUTES} others of its class be read. Check the data again."
        )

    def check_readable(self) -> None:
        """Raises `TooManyBadFilesError` where more files than `max_error_rate` had to be replaced."""
        if len(self.replaced) > max(1, self.max_error_rate * len(self)):
            listed = "\n  ".join(list(self.replaced.values())[:10])
            raise TooManyBadFilesError(
                f"{len(self.replaced)} of {len(self)} images can't be read any more, over the limit of {self.max_error_rate:.0%}:\n  {listed}\n"
                "Bring them back, or load the data again to leave them out."
            )

    def _complain(self, index: int, error: VitKerasError) -> None:
        with self._lock:
            known = index in self.replaced
            self.replaced[index] = str(error)
        self.check_readable()
        if not known:
            warnings.warn(f"{error} Another image of its class stands in for it.", stacklevel=2)

    @functools.cached_property
    def prepared(self) -> "Split | EncodedSplit":
        """All images decoded and resized, in memory or in the cache folder as `cache` says; itself where neither has room.

        Raises:
            TooManyBadFilesError: Too many can't be read.
            StorageError: The cache folder can't be written.
        """
        images = kept(self.image, (len(self), *self.image_shape), cache=self.cache, key=self.digest)
        return self if images is None else Split(images, self.labels)
