"""Grids of patches whose rows and columns are known only when images arrive."""

import math
from typing import Any

from keras import ops

from vit_keras.layers.base.checks import Shape, Tensor

_OFFSET = 0.1  # patches; DINO and DINOv2 add it to the new size

INDEX_OF_PADDING = -2
"""Row and column of tokens that are padding."""

Count = Any
"""An integer, or on TensorFlow a scalar tensor."""


def pad_images(images: Tensor, patch_size: int) -> Tensor:
    """Returns images with zeros added at the bottom and at the right, up to a multiple of the patch size (px)."""
    _, height, width, channels = ops.shape(images)
    bottom, right = -height % patch_size, -width % patch_size
    if isinstance(height, int) and isinstance(width, int) and not bottom and not right:
        return images
    padded = ops.pad(images, [[0, 0], [0, bottom], [0, right], [0, 0]])
    return ops.reshape(padded, (-1, height + bottom, width + right, channels))  # TensorFlow forgets the channels


def count_patches(
    height: int | None, width: int | None, patch_size: int, *, is_cropped: bool = False
) -> tuple[int | None, int | None]:
    """Returns rows and columns of the patches of padded or cropped images (px); None where a side is unknown."""
    more = 0 if is_cropped else patch_size - 1
    rows, columns = (None if side is None else (side + more) // patch_size for side in (height, width))
    return rows, columns


def count_tokens(shape: Shape, num_prefix_tokens: int) -> int | None:
    """Returns the number of tokens for patches of a shape, a grid's or not; None where it is unknown."""
    places = shape[1:-1]
    return None if None in places else math.prod(places) + num_prefix_tokens  # type: ignore[arg-type]


def flatten_grid(grid: Tensor) -> Tensor:
    """Returns `(batch, rows, columns, dim)` as `(batch, patches, dim)`."""
    _, rows, columns, dim = ops.shape(grid)
    return ops.reshape(grid, (-1, rows * columns, dim))


def grid_indices(rows: Count, columns: Count, *, num_prefix_tokens: int) -> Tensor:
    """Returns the row and column of each token, `(tokens, 2)`, int32; -1 for prefix tokens."""
    along_rows = ops.broadcast_to(ops.arange(rows, dtype="int32")[:, None], (rows, columns))
    along_columns = ops.broadcast_to(ops.arange(columns, dtype="int32")[None], (rows, columns))
    indices = ops.reshape(ops.stack([along_rows, along_columns], axis=-1), (-1, 2))
    return ops.concatenate([prefix_indices(num_prefix_tokens), indices]) if num_prefix_tokens else indices


def prefix_indices(num_prefix_tokens: int) -> Tensor:
    """Returns the row and column of prefix tokens, which have none: -1, `(num_prefix_tokens, 2)`, int32."""
    return ops.full((num_prefix_tokens, 2), -1, dtype="int32")


def count_valid(patch_indices: Tensor | None) -> Tensor | None:
    """Returns the number of tokens of each packed image that are not padding, `(batch,)`, int32; those come first.

    None without indices, and for those of images without padding, `(tokens, 2)`.
    """
    if patch_indices is None or len(patch_indices.shape) == 2:
        return None
    return ops.sum(ops.cast(patch_indices[:, :, 0] != INDEX_OF_PADDING, "int32"), axis=1)


def valid_mask(num_valid: Tensor, num_tokens: Count) -> Tensor:
    """Returns whether each token is not padding, `(batch, tokens)`, bool."""
    return ops.arange(num_tokens, dtype="int32")[None] < num_valid[:, None]


def resize_to_packed(positions: Tensor, patch_indices: Tensor, *, before: tuple[int, int], rule: str) -> Tensor:
    """Returns positions `(1, positions, hidden_dim)` for the grid of each packed image, `(batch, patches, hidden_dim)`, in float32.

    What `resize_grid` does for one grid. `patch_indices` are those of the patches, `(batch, patches, 2)`; padding has zeros.
    """
    indices = ops.cast(ops.maximum(patch_indices, 0), "float32")
    sizes = ops.max(indices, axis=1, keepdims=True) + 1  # the last patch is in the last row and column
    is_same = ops.all(sizes == ops.convert_to_tensor(before, "float32"), axis=-1)
    offset = ops.where(is_same, 0.0, _OFFSET) if rule == "bicubic_offset" else 0.0
    if rule.endswith("_crop"):  # as in `resize_grid`
        sizes = ops.where(is_same[..., None], sizes, ops.max(sizes, axis=-1, keepdims=True))
    along_rows, along_columns = (
        _axis_weights(old, indices[..., axis], sizes[..., axis], rule=rule.removesuffix("_crop"), offset=offset)
        for axis, old in enumerate(before)
    )
    weights = along_rows[..., :, None] * along_columns[..., None, :]  # (batch, patches, old rows, old columns)
    weights = ops.reshape(weights, (-1, patch_indices.shape[1], math.prod(before)))
    weights = ops.where(patch_indices[..., :1] == INDEX_OF_PADDING, 0.0, weights)
    return ops.matmul(weights, ops.cast(positions[0], "float32"))


def resize_grid(positions: Tensor, *, before: tuple[int, int], after: tuple[Count, Count], rule: str) -> Tensor:
    """Returns positions `(1, patches, hidden_dim)` for another grid (rows, columns), in float32.

    What `vit_keras.weights.adapt.resize.resize_positions` does in float64, for sizes that TensorFlow knows only when images arrive.
    """
    is_known = all(isinstance(count, int) for count in after)
    if is_known and after == before:
        return positions
    rows, columns = before
    dim = positions.shape[-1]
    is_same = ops.logical_and(ops.equal(after[0], rows), ops.equal(after[1], columns))
    offset = ops.where(is_same, 0.0, _OFFSET) if rule == "bicubic_offset" else 0.0
    resized_to: tuple[Count, Count] = after
    if rule.endswith("_crop"):  # to a square of the longer side, of which the top left part is taken
        side = max(after) if is_known else ops.maximum(*after)
        resized_to = (side, side) if is_known else tuple(ops.where(is_same, count, side) for count in after)
    along_rows, along_columns = (
        _resize_matrix(old, new, rule=rule.removesuffix("_crop"), offset=offset)[:count]
        for old, new, count in zip(before, resized_to, after, strict=True)
    )
    resized = ops.matmul(along_rows, ops.reshape(ops.cast(positions, "float32"), (rows, columns * dim)))
    resized = ops.matmul(along_columns, ops.reshape(resized, (-1, columns, dim)))  # (new rows, new columns, dim)
    return ops.reshape(resized, (1, after[0] * after[1], dim))


def _resize_matrix(before: int, after: Count, *, rule: str, offset: Tensor | float) -> Tensor:
    """Returns the matrix `(after, before)` that resamples one axis, as `_axis_weights` does."""
    return _axis_weights(
        before, ops.arange(after, dtype="float32"), ops.cast(after, "float32"), rule=rule, offset=offset
    )


def _axis_weights(before: int, new_cells: Tensor, size: Tensor, *, rule: str, offset: Tensor | float = 0.0) -> Tensor:
    """Returns the weights of the old cells along one axis, `(..., before)`, for new cells `(...)` of an axis of this size.

    `offset`, in cells, is added to the size. Equal sizes without an offset give the identity, bit for bit.
    """
    kind, _, variant = rule.partition("_")
    if variant == "corners":
        step = (before - 1) / ops.maximum(size - 1, 1.0)
        places = new_cells * step
    else:
        step = before / (size + offset)
        places = (new_cells + 0.5) * step - 0.5
    if variant == "antialias":
        distances = ops.arange(before, dtype="float32") - places[..., None]
        weights = _kernel(distances / ops.maximum(step, 1.0)[..., None], kind, slope=-0.5)
        return weights / ops.sum(weights, axis=-1, keepdims=True)
    if before == 1:
        return ops.ones_like(places)[..., None]
    weights = _kernel(ops.arange(-2, before + 2, dtype="float32") - places[..., None], kind, slope=-0.75)
    # Cells beyond the edge repeat the edge cell.
    first, last = (ops.sum(each, axis=-1, keepdims=True) for each in (weights[..., :3], weights[..., -3:]))
    return ops.concatenate([first, weights[..., 3:-3], last], axis=-1)


def _kernel(distances: Tensor, kind: str, *, slope: float) -> Tensor:
    """Returns the weights of old cells at these distances, in cells (Keys 1981, doi 10.1109/TASSP.1981.1163711)."""
    x = ops.abs(distances)
    if kind == "bilinear":
        return ops.maximum(1 - x, 0.0)
    near = ((slope + 2) * x - (slope + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * slope - 4 * slope
    return ops.where(x <= 1, near, ops.where(x < 2, far, 0.0))
