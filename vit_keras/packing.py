"""Packed images: images of any aspect ratio as arrays of one shape, patch by patch. No Keras.

A packed image is `(max_num_patches, 2 + patch_size**2, channels)`. Each row is a patch, left to right and top to bottom: two entries
with its row and its column on the image's grid, equal in all channels, then its pixels. Patches that are missing are zeros with
the indices `PADDING`; they come last.
"""

import math
from collections.abc import Callable

import numpy as np

from vit_keras.errors import InvalidArgumentError
from vit_keras.packed_sizes import NUM_INDICES, PADDING, packed_shape


def pack_image(pixels: np.ndarray, *, patch_size: int, max_num_patches: int) -> np.ndarray:
    """Returns an image `(height, width, channels)` packed, with the dtype of its pixels.

    Raises:
        InvalidArgumentError: The sides are not multiples of `patch_size`, or there are too many patches.

    Example:
        >>> import numpy as np
        >>> packed = pack_image(np.full((32, 48, 3), 7, "uint8"), patch_size=16, max_num_patches=9)
        >>> packed.shape, packed[5, :3, 0].tolist(), packed[6, :3, 0].tolist()
        ((9, 258, 3), [1, 2, 7], [255, 255, 0])
    """
    height, width, channels = pixels.shape
    rows, columns = height // patch_size, width // patch_size
    largest = max(rows, columns)
    if height % patch_size or width % patch_size or not 0 < rows * columns <= max_num_patches or largest > PADDING:
        raise InvalidArgumentError(
            f"An image of {height}x{width} px can't be packed: expected multiples of the patch size of {patch_size} px, at most "
            f"{max_num_patches} patches, and at most {PADDING} rows and columns. Resize it first; vk.data.preprocess_images does."
        )
    packed = np.zeros(packed_shape(max_num_patches, patch_size, channels), pixels.dtype)
    count = rows * columns
    packed[:, :NUM_INDICES] = PADDING
    packed[:count, :NUM_INDICES] = np.indices((rows, columns)).reshape(2, count).T[..., None]
    patches = pixels.reshape(rows, patch_size, columns, patch_size, channels).transpose(0, 2, 1, 3, 4)
    packed[:count, NUM_INDICES:] = patches.reshape(count, -1, channels)
    return packed


def packed_grid(packed: np.ndarray) -> tuple[int, int]:
    """Returns the rows and columns of patches of a packed image."""
    indices = np.asarray(packed)[:, :NUM_INDICES, 0]
    rows, columns = indices[indices[:, 0] != PADDING].max(axis=0).astype(int) + 1
    return int(rows), int(columns)


def unpack_image(packed: np.ndarray) -> np.ndarray:
    """Returns the image `(height, width, channels)` of a packed one.

    >>> import numpy as np
    >>> image = np.arange(2 * 4 * 3, dtype="uint8").reshape(2, 4, 3)
    >>> bool((unpack_image(pack_image(image, patch_size=2, max_num_patches=5)) == image).all())
    True
    """
    packed = np.asarray(packed)
    rows, columns = packed_grid(packed)
    size, channels = math.isqrt(packed.shape[1] - NUM_INDICES), packed.shape[2]
    patches = packed[: rows * columns, NUM_INDICES:].reshape(rows, columns, size, size, channels)
    return patches.transpose(0, 2, 1, 3, 4).reshape(rows * size, columns * size, channels)


def change_image(packed: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns a packed image after a change of its pixels `(height, width, channels)` that keeps their shape."""
    size = math.isqrt(packed.shape[1] - NUM_INDICES)
    return pack_image(change(unpack_image(packed)), patch_size=size, max_num_patches=len(packed))
