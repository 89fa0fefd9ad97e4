"""Packed images: images of any aspect ratio as arrays of one shape, patch by patch. No Keras.

A packed image is `(max_num_patches, 2 + patch_size**2, channels)`. Each row is a patch, left to right and top to bottom: two entries
with its row and its column on the image's grid, equal in all channels, then its pixels. Patches that are missing are zeros with
the indices `PADDING`; they come last.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from vit_keras.errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np  # imported when first used: reading presets imports nothing heavy

NUM_INDICES = 2
"""Entries before the pixels of a patch: its row and its column."""

PADDING = 255
"""Row and column of padding; also the largest number of rows or columns, because the indices fit into uint8."""


def packed_shape(max_num_patches: int, patch_size: int, channels: int) -> tuple[int, int, int]:
    """Returns the shape of a packed image.

    >>> packed_shape(256, 16, 3)
    (256, 258, 3)
    """
    return (max_num_patches, NUM_INDICES + patch_size**2, channels)


def fit_grid(height: float, width: float, *, patch_size: int, max_num_patches: int) -> tuple[int, int]:
    """Returns the rows and columns of patches of the largest size that an image is resized to, its aspect ratio nearly kept.

    The image is scaled as far as both sides, rounded up to whole patches, have at most `max_num_patches` (Tschannen et al. 2025, arXiv
    2502.14786, section 2.4.2). Each has one patch at least, and at most `PADDING`.

    >>> fit_grid(480, 640, patch_size=16, max_num_patches=256)
    (14, 18)
    """

    def grid_at(scale: float) -> tuple[int, int]:
        rows, columns = (max(math.ceil(side * scale / patch_size), 1) for side in (height, width))
        return rows, columns

    # The limits and the number of halvings are those of the published models: another search would round otherwise.
    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        scale = (low + high) / 2
        if math.prod(grid_at(scale)) <= max_num_patches:
            low = scale
        else:
            high = scale
    rows, columns = grid_at(low)
    return min(rows, PADDING), min(columns, PADDING)


def pack_image(pixels: "np.ndarray", *, patch_size: int, max_num_patches: int) -> "np.ndarray":
    """Returns an image `(height, width, channels)` packed, with the dtype of its pixels.

    Raises:
        InvalidArgumentError: The sides are not multiples of `patch_size`, or there are too many patches.

    Example:
        >>> import numpy as np
        >>> packed = pack_image(np.full((32, 48, 3), 7, "uint8"), patch_size=16, max_num_patches=9)
        >>> packed.shape, packed[5, :3, 0].tolist(), packed[6, :3, 0].tolist()
        ((9, 258, 3), [1, 2, 7], [255, 255, 0])
    """
    import numpy as np

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


def packed_grid(packed: "np.ndarray") -> tuple[int, int]:
    """Returns the rows and columns of patches of a packed image."""
    import numpy as np

    indices = np.asarray(packed)[:, :NUM_INDICES, 0]
    rows, columns = indices[indices[:, 0] != PADDING].max(axis=0).astype(int) + 1
    return int(rows), int(columns)


def unpack_image(packed: "np.ndarray") -> "np.ndarray":
    """Returns the image `(height, width, channels)` of a packed one.

    >>> import numpy as np
    >>> image = np.arange(2 * 4 * 3, dtype="uint8").reshape(2, 4, 3)
    >>> bool((unpack_image(pack_image(image, patch_size=2, max_num_patches=5)) == image).all())
    True
    """
    import numpy as np

    packed = np.asarray(packed)
    rows, columns = packed_grid(packed)
    size, channels = math.isqrt(packed.shape[1] - NUM_INDICES), packed.shape[2]
    patches = packed[: rows * columns, NUM_INDICES:].reshape(rows, columns, size, size, channels)
    return patches.transpose(0, 2, 1, 3, 4).reshape(rows * size, columns * size, channels)


def change_image(packed: "np.ndarray", change: "Callable[[np.ndarray], np.ndarray]") -> "np.ndarray":
    """Returns a packed image after a change of its pixels `(height, width, channels)` that keeps their shape."""
    size = math.isqrt(packed.shape[1] - NUM_INDICES)
    return pack_image(change(unpack_image(packed)), patch_size=size, max_num_patches=len(packed))
