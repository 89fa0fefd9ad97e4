"""Images that stay in a memory-mapped array: scaled and resized when they are read, never copied as a whole."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vit_keras.data.images.preprocess import Preprocessing, to_image

_AT_ONCE = 64  # images, to limit memory


def find_map(array: object) -> bool:
    """Whether an array is a part of a memory-mapped file, such as `np.load(path, mmap_mode="r")` returns."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap | mmap.mmap)


@dataclass(frozen=True, eq=False, kw_only=True)
class MappedImages:
    """Images of a memory-mapped array, read by index like `(count, height, width, channels)`, uint8.

    Args:
        array: `(images, height, width, channels)`, memory-mapped.
        rows: `(count,)`, the images of `array` that these are, in order.
        pixel_range: Black and white of `array`; None for uint8 pixels 0..255.
        preprocessing: Size and channels; None for those of `array`.
    """

    array: np.ndarray
    rows: np.ndarray
    pixel_range: tuple[float, float] | None = None
    preprocessing: Preprocessing | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Count, height, width (px) and channels."""
        if self.preprocessing is None:
            return (len(self), *self.array.shape[1:])
        return (len(self), *self.preprocessing.image_shape)

    ndim = 4
    dtype = np.dtype("uint8")

    @property
    def nbytes(self) -> int:
        """Bytes that all images would take in memory."""
        return int(np.prod(self.shape, dtype="int64"))

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns one image, `(height, width, channels)`, uint8."""
        pixels = np.asarray(self.array[self.rows[index]])
        if self.pixel_range is not None:
            pixels = scale_pixels(pixels, self.pixel_range)
        if self.preprocessing is None or (pixels.shape == self.shape[1:] and not self.preprocessing.packs):
            return np.array(pixels)
        image = to_image(np.ascontiguousarray(pixels)).convert("L" if self.preprocessing.channels == 1 else "RGB")
        return self.preprocessing.to_array(image)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        """Returns a copy of all images in memory."""
        images = np.stack([self[index] for index in range(len(self))])
        return images if dtype is None else images.astype(dtype)  # type: ignore[call-overload]

    def subset(self, indices: np.ndarray) -> "MappedImages":
        """Returns the images at these indices (or of this mask), in this order."""
        return replace(self, rows=self.rows[indices])

    def resize(self, preprocessing: Preprocessing) -> "MappedImages":
        """Returns the images resized, or converted to other channels, when they are read."""
        own = self.preprocessing
        if own is not None and own.image_size == preprocessing.image_size:
            preprocessing = own.replace(channels=preprocessing.channels)
        return replace(self, preprocessing=preprocessing)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields all images in parts of at most 64."""
        for first in range(0, len(self), _AT_ONCE):
            yield np.stack([self[index] for index in range(first, min(first + _AT_ONCE, len(self)))])


def scale_pixels(pixels: np.ndarray, pixel_range: tuple[float, float]) -> np.ndarray:
    """Returns pixels scaled from black and white to 0..255, uint8."""
    low, high = pixel_range
    scaled: np.ndarray = np.round((pixels.astype("float64") - low) * (255 / (high - low))).clip(0, 255).astype("uint8")
    return scaled
