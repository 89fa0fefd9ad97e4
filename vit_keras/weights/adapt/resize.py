"""Resizes learned positions, patch kernels and channels by each library's own rule, in NumPy alone.

Each resize is separable, `rows @ grid @ columns.T` with two matrices of `resize_matrix` in float64, so the result is the same
on every backend.
"""

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from vit_keras.config import PatchResize, PositionResize
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words

ChannelResize: TypeAlias = Literal["sum", "mean", "repeat"]
Kind: TypeAlias = Literal["bilinear", "bicubic"]
Matrix: TypeAlias = npt.NDArray[np.floating[Any]]  # always float64

_OFFSET = 0.1  # patches; DINO and DINOv2 add it to the new size
_RADIUS = {"bilinear": 1, "bicubic": 2}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "bicubic_antialias": {"kind": "bicubic", "antialias": True},  # as timm
    "bicubic": {"kind": "bicubic"},  # as transformers
    "bicubic_offset": {"kind": "bicubic"},  # as DINO and DINOv2
    "bilinear": {"kind": "bilinear"},  # patches as in FlexiViT
    "bilinear_antialias": {"kind": "bilinear", "antialias": True},  # positions as in big_vision's FlexiViT and SigLIP 2
    "bilinear_corners": {"kind": "bilinear", "align_corners": True},  # as Google's vision_transformer
}
_CROP = "_crop"
"""Ending of the rules that resize to a square of the longer side and take its top left part, as in RADIO."""


def resize_matrix(
    before: int,
    after: int,
    *,
    kind: Kind,
    antialias: bool = False,
    align_corners: bool = False,
    scale: float | None = None,
) -> Matrix:
    """Returns the matrix `(after, before)` that resamples one axis, as torch's `interpolate`; each row sums to 1.

    New cell `i` is centered at `(i + 1/2) * before / after - 1/2` of the old cells, with `align_corners` at
    `i * (before - 1) / (after - 1)`. Without `antialias`, cells beyond the edge repeat the edge cell. With it, the kernel is
    stretched to the width of the new cells when the axis shrinks, and cells beyond the edge are left out. "bicubic" is Keys' cubic
    (Keys 1981, doi 10.1109/TASSP.1981.1163711) with torch's slope at 1. `scale` is torch's `scale_factor`, new cells per old cell.
    """
    _check_sizes("resize_matrix", before=before, after=after)
    _check_choice("resize_matrix", "kind", kind, get_args(Kind))
    if align_corners and (antialias or scale is not None):
        raise InvalidArgumentError(
            "resize_matrix: align_corners cannot be combined with antialias or scale; choose one."
        )
    if scale is not None and not after / before <= scale * (1 + 1e-9) < math.inf:
        raise InvalidArgumentError(
            f"resize_matrix: scale={scale!r} does not give {after} cells from {before}; it must be at least {after / before:.6g}."
        )
    slope = -0.5 if antialias else -0.75

    if align_corners:
        step = (before - 1) / (after - 1) if after > 1 else 0.0
        places = np.arange(after) * step
    else:
        step = before / after if scale is None else 1 / scale
        places = (np.arange(after) + 0.5) * step - 0.5

    if antialias:
        distances = np.arange(before) - places[:, None]  # (after, before)
        weights = _kernel(distances / max(step, 1.0), kind, slope)
        return weights / weights.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    radius = _RADIUS[kind]
    taps = np.floor(places)[:, None] + np.arange(1 - radius, 1 + radius)  # (after, 2 * radius)
    weights = _kernel(taps - places[:, None], kind, slope)
    matrix = np.zeros((after, before))
    np.add.at(matrix, (np.arange(after)[:, None], np.clip(taps, 0, before - 1).astype(int)), weights)
    return matrix


def resize_positions(
    positions: npt.ArrayLike,
    *,
    before: tuple[int, int],
    after: tuple[int, int],
    rule: PositionResize,
    num_prefix: int = 0,
) -> npt.NDArray[np.float32]:
    """Returns learned positions `(1, num_prefix + rows * columns, hidden_dim)` for another grid (rows, columns) of patches.

    Those of prefix tokens are unchanged, and equal grids give the same bits.
    """
    _check_choice("resize_positions", "rule", rule, get_args(PositionResize))
    for name, sides in (("before", before), ("after", after)):
        if not isinstance(sides, tuple | list) or len(sides) != 2:
            raise InvalidArgumentError(f"resize_positions: {name}={sides!r} is not (rows, columns).")
        _check_sizes("resize_positions", **{f"{name} rows": sides[0], f"{name} columns": sides[1]})
    if type(num_prefix) is not int or num_prefix < 0:
        raise InvalidArgumentError(f"resize_positions: num_prefix={num_prefix!r} is not a non-negative integer.")
    array = np.asarray(positions)
    rows, columns = before
    if array.ndim != 3 or array.shape[:2] != (1, num_prefix + rows * columns):
        raise InvalidArgumentError(
            f"resize_positions: positions of shape {array.shape} do not form {num_prefix} prefix tokens and a grid of {rows} x "
            f"{columns} patches; expected (1, {num_prefix + rows * columns}, hidden_dim)."
        )
    if tuple(before) == tuple(after):
        return array.astype(np.float32)
    resized_to = (max(after),) * 2 if rule.endswith(_CROP) else after
    arguments = _ARGUMENTS[rule.removesuffix(_CROP)]
    along_rows, along_columns = (
        resize_matrix(old, new, scale=(new + _OFFSET) / old if rule == "bicubic_offset" else None, **arguments)[:count]
        for old, new, count in zip(before, resized_to, after, strict=True)
    )
    prefix, patches = array[0, :num_prefix], array[0, num_prefix:]
    grid = patches.astype(np.float64).reshape(rows, columns, -1)  # (rows, columns, hidden_dim)
    resized = _along_both(along_rows, along_columns, grid).reshape(after[0] * after[1], -1)
    return np.concatenate([prefix.astype(np.float32), resized.astype(np.float32)])[None]


def resize_patches(
    kernel: npt.ArrayLike, *, before: int, after: int, channels: int, rule: PatchResize
) -> npt.NDArray[np.float32]:
    """Returns the patch kernel for another patch size; equal sizes give the same bits.

    Paper: Beyer et al. 2023, arXiv 2212.08013, section 3.4. A patch x resized by the matrix B and projected by the new kernel
    should give the same token, `(B x) . new = x . old`: `new = pinv(B).T @ old` is exact where patches grow, and the least-squares
    solution where they shrink. B is the Kronecker product of one matrix M per axis, so `pinv(M)` is enough. The rows of the kernel
    `(before * before * channels, hidden_dim)` are in the order y, x, channel.
    """
    _check_choice("resize_patches", "rule", rule, get_args(PatchResize))
    _check_sizes("resize_patches", before=before, after=after, channels=channels)
    array = np.asarray(kernel)
    if array.ndim != 2 or array.shape[0] != before * before * channels:
        raise InvalidArgumentError(
            f"resize_patches: a kernel of shape {array.shape} does not belong to patches of {before} x {before} px with "
            f"{channels} channels; expected ({before * before * channels}, hidden_dim)."
        )
    if before == after:
        return array.astype(np.float32)
    inverse: Matrix = np.linalg.pinv(resize_matrix(before, after, **_ARGUMENTS[rule])).T  # (after, before)
    patch = array.astype(np.float64).reshape(before, before, -1)  # (y, x, channel * hidden_dim)
    resized = _along_both(inverse, inverse, patch)
    return resized.reshape(after * after * channels, -1).astype(np.float32)


def resize_channels(kernel: npt.ArrayLike, *, before: int, after: int, rule: ChannelResize) -> npt.NDArray[np.float32]:
    """Returns the patch kernel for another number of channels; equal numbers give the same bits.

    With `old[c]` the kernel of channel c, `new[i]` is
    "sum": `sum(old)`, for one channel only;
    "mean": `sum(old) / after`, equal in all channels;
    "repeat": `old[i % before] * before / after`.
    Each gives an image with equal channels the same tokens as before, "repeat" only where `after` is a multiple of `before`.
    """
    _check_choice("resize_channels", "rule", rule, get_args(ChannelResize))
    _check_sizes("resize_channels", before=before, after=after)
    array = np.asarray(kernel)
    cells = array.shape[0] // before if array.ndim == 2 else 0
    if array.ndim != 2 or cells * before != array.shape[0] or math.isqrt(cells) ** 2 != cells or not cells:
        raise InvalidArgumentError(
            f"resize_channels: a kernel of shape {array.shape} does not belong to square patches with {before} channels; "
            f"expected (patch * patch * {before}, hidden_dim)."
        )
    if before == after:
        return array.astype(np.float32)
    if rule == "sum" and after != 1:
        raise InvalidArgumentError(f"resize_channels: 'sum' makes one channel, not {after}; choose 'mean' or 'repeat'.")
    old = array.astype(np.float64).reshape(cells, before, -1)  # (y * x, channel, hidden_dim)
    if rule == "repeat":
        new = old[:, np.arange(after) % before] * (before / after)
    else:
        new = np.repeat(old.sum(axis=1, keepdims=True) / after, after, axis=1)
    return new.reshape(cells * after, -1).astype(np.float32)


def _kernel(distances: Matrix, kind: Kind, slope: float) -> Matrix:
    """Returns the weights of old cells at these distances, in cells."""
    x = np.abs(distances)
    if kind == "bilinear":
        near, far = 1 - x, np.zeros_like(x)
    else:
        near = ((slope + 2) * x - (slope + 3)) * x * x + 1
        far = ((x - 5) * x + 8) * x * slope - 4 * slope
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _along_both(along_rows: Matrix, along_columns: Matrix, grid: Matrix) -> Matrix:
    """Returns a grid `(rows, columns, ...)` resampled along its first two axes."""
    rows_done = np.tensordot(along_rows, grid, 1)  # (new rows, columns, ...)
    return np.tensordot(along_columns, rows_done, (1, 1)).swapaxes(0, 1)  # (new rows, new columns, ...)


def _check_sizes(function: str, **sizes: int) -> None:
    wrong = {name: size for name, size in sizes.items() if type(size) is not int or size < 1}
    if wrong:
        listed = ", ".join(f"{name}={size!r}" for name, size in wrong.items())
        raise InvalidArgumentError(f"{function} needs positive integers, not {listed}.")


def _check_choice(function: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidArgumentError(f"{function} does not know {name}={value!r}; choose one of {list_words(choices)}.")
