"""Adapts a checkpoint's table of relative position biases to a model's grid of patches."""

import math
from dataclasses import replace

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.resize import Matrix
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.steps import Change, Conversion, MisfitError, Step

_OF_CLASS_TOKEN = 3  # rows at the end
_RATIOS = (1.01, 1.5)  # bounds of the search for the progression's ratio, with its tolerance below, of BEiT's code
_TOLERANCE = 1e-6


def adapt_relative_positions(
    step: Conversion, count: int, config: ViTConfig, grid_size: tuple[int, int] | None
) -> tuple[Step, list[str]]:
    """Returns a step that makes a file's table of `count` rows fit the model, and notes.

    `grid_size`, the file's rows and columns of patches, is by default the model's if the number of rows fits it, else a square.
    """
    on_class_token = _OF_CLASS_TOKEN if config.num_prefix_tokens else 0
    found = grid_size or _find_grid(count - on_class_token, config.grid_size)
    if found is None or _count_offsets(found) != count - on_class_token:
        token = "and a class token" if on_class_token else "without a class token"
        raise MisfitError(
            f"{step.sources[0]} has biases of {count} offsets, which is no square grid of patches {token}. For another grid, give "
            "grid_size; for other tokens, see class_token"
        )
    if found == config.grid_size:
        return step, []
    before, after = ("x".join(map(str, grid)) for grid in (found, config.grid_size))
    notes = [f"relative position biases resized from {before} to {after} patches by timm's rule"]
    return replace(step, adapt=_fit_table(found, config.grid_size)), notes


def resize_table(table: Array, *, before: tuple[int, int], after: tuple[int, int]) -> Array:
    """Returns a table `(offsets + 0 or 3, heads)` for another grid (rows, columns) of patches; the last rows, of a class token, stay.

    The rule of BEiT's code (Bao et al. 2022, arXiv 2106.08254) and of timm: the old offsets stand for distances in a geometric
    progression that covers the new ones, so that biases of near patches stay; numbers between are linearly interpolated.
    """
    offsets = _count_offsets(before)
    grid = np.asarray(table[:offsets], "float64").reshape(2 * before[0] - 1, 2 * before[1] - 1, -1)
    along_rows, along_columns = (_matrix(2 * old - 1, 2 * new - 1) for old, new in zip(before, after, strict=True))
    resized = np.einsum("yr,rch,xc->yxh", along_rows, grid, along_columns).reshape(_count_offsets(after), -1)
    return np.concatenate([resized.astype("float32"), np.asarray(table[offsets:], "float32")])


def _matrix(before: int, after: int) -> Matrix:
    """Returns the matrix `(after, before)` that resamples the offsets along one axis."""
    places, wanted = _distances(before, after), np.arange(after) - after // 2
    return np.stack([np.interp(wanted, places, row) for row in np.eye(before)], axis=1)


def _distances(before: int, after: int) -> Matrix:
    """Returns the distance, in new patches, that each old offset stands for."""
    if before == after:
        return np.arange(before, dtype="float64") - before // 2
    low, high = _RATIOS
    while high - low > _TOLERANCE:
        ratio = (low + high) / 2
        reach = (1 - ratio ** (before // 2)) / (1 - ratio)  # the distance of the last old offset
        low, high = (low, ratio) if reach > after // 2 else (ratio, high)
    positive = np.cumsum(ratio ** np.arange(before // 2))
    return np.concatenate([-positive[::-1], [0.0], positive])


def _fit_table(before: tuple[int, int], after: tuple[int, int]) -> Change:
    return lambda table: resize_table(table, before=before, after=after)


def _find_grid(offsets: int, of_model: tuple[int, int]) -> tuple[int, int] | None:
    """Returns the model's grid if it has so many offsets, else a square; None where that is impossible."""
    side = math.isqrt(max(offsets, 0))
    if _count_offsets(of_model) == offsets:
        return of_model
    return ((side + 1) // 2, (side + 1) // 2) if side % 2 and side * side == offsets else None


def _count_offsets(grid_size: tuple[int, int]) -> int:
    rows, columns = grid_size
    return (2 * rows - 1) * (2 * columns - 1)
