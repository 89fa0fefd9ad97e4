"""Sizes of packed images (`vit_keras.packing`): of their arrays, and of their grids of patches. Plain Python."""

import math

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
