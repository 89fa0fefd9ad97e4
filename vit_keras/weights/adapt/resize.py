"""Learned positions, patch kernels and channels made to fit another size, by each library's own rule, in numpy alone.

Every resize here is separable: `rows @ grid @ columns.T` with two matrices of `resize_matrix`, in float64, so that the
result is the same on every backend.
"""

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from vit_keras.config import PatchResize, PositionResize
from vit_keras.errors import InvalidArgumentError

ChannelResize: TypeAlias = Literal["sum", "mean", "repeat"]
Kind: TypeAlias = Literal["bilinear", "bicubic"]
Matrix: TypeAlias = npt.NDArray[np.floating[Any]]  # float64, all of them

_OFFSET = 0.1  # patches; what DINO and DINOv2 add to the new size
_RADIUS = {"bilinear": 1, "bicubic": 2}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "bicubic_antialias": {"kind": "bicubic", "antialias": True},
    "bicubic": {"kind": "bicubic"},
    "bicubic_offset": {"kind": "bicubic"},
    "bilinear": {"kind": "bilinear"},
    "bilinear_antialias": {"kind": "bilinear", "antialias": True},
    "bilinear_corners": {"kind": "bilinear", "align_corners": True},
}


def resize_matrix(
    before: int,
    after: int,
    *,
    kind: Kind,
    antialias: bool = False,
    align_corners: bool = False,
    scale: float | None = None,
    cubic: float | None = None,
) -> Matrix:
    """Returns the matrix `(after, before)` that resamples one axis; each of its rows sums to 1.

    New cell `i` lies at `(i + 1/2) * before / after - 1/2` of the old cells, at `i * (before - 1) / (after - 1)` with
    `align_corners`. Without `antialias` the axis goes on with its edge cells; with it the kernel is stretched to the new
    cells' width when the axis shrinks, and what lies beyond the edge is left out. All of this as torch's `interpolate` does.

    Args:
        before: Cells of the axis.
        after: Cells wanted.
        kind: "bilinear", the triangle, or "bicubic", Keys' cubic (Keys 1981, doi 10.1109/TASSP.1981.1163711).
        antialias: Averages over the old cells where the axis shrinks.
        align_corners: The first and last cells stay where they are; not with `antialias` or `scale`.
        scale: New cells per old cell, in place of `after / before`: torch's `scale_factor`.
        cubic: Slope of the cubic at 1; by default torch's, -0.5 with `antialias` and -0.75 without.

    Raises:
        InvalidArgumentError: An argument is not legal.

    Example:
        >>> resize_matrix(2, 3, kind="bilinear").tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    _check_sizes("resize_matrix", before=before, after=after)
    _check_choice("resize_matrix", "kind", kind, get_args(Kind))
    if align_corners and (antialias or scale is not None):
        raise InvalidArgumentError("resize_matrix: align_corners goes with neither antialias nor scale; choose one.")
    if scale is not None and not after / before <= scale * (1 + 1e-9) < math.inf:
        raise InvalidArgumentError(
            f"resize_matrix: scale={scale!r} does not make {after} cells of {before}; it must be {after / before:.6g} or more."
        )
    if cubic is None:
        cubic = -0.5 if antialias else -0.75

    if align_corners:
        step = (before - 1) / (after - 1) if after > 1 else 0.0
        places = np.arange(after) * step
    else:
        step = before / after if scale is None else 1 / scale
        places = (np.arange(after) + 0.5) * step - 0.5

    if antialias:
        distances = np.arange(before) - places[:, None]  # (after, before)
        weights = _kernel(distances / max(step, 1.0), kind, cubic)
        return weights / weights.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    radius = _RADIUS[kind]
    taps = np.floor(places)[:, None] + np.arange(1 - radius, 1 + radius)  # (after, 2 * radius)
    weights = _kernel(taps - places[:, None], kind, cubic)
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
    """Returns learned positions for another grid of patches; equal grids come back to the bit.

    Args:
        positions: `(1, num_prefix + rows * columns, hidden_dim)`, the grid row by row, any float dtype.
        before: Rows and columns of patches they were learned for.
        after: Rows and columns wanted.
        rule: "bicubic_antialias" as timm, "bicubic" as transformers, "bicubic_offset" as DINO and DINOv2 (the grid is taken
            as 0.1 patches longer than it is), "bilinear", "bilinear_antialias" as big_vision's FlexiViT and SigLIP 2,
            "bilinear_corners" as Google's vision_transformer.
        num_prefix: Positions in front that belong to no patch; they stay as they are.

    Raises:
        InvalidArgumentError: The positions do not form that grid, or an argument is not legal.

    Example:
        >>> resize_positions(np.ones((1, 1 + 4, 8)), before=(2, 2), after=(3, 4), rule="bicubic", num_prefix=1).shape
        (1, 13, 8)
    """
    _check_choice("resize_positions", "rule", rule, get_args(PositionResize))
    for name, sides in (("before", before), ("after", after)):
        if not isinstance(sides, tuple | list) or len(sides) != 2:
            raise InvalidArgumentError(f"resize_positions: {name}={sides!r} is not (rows, columns).")
        _check_sizes("resize_positions", **{f"{name} rows": sides[0], f"{name} columns": sides[1]})
    if type(num_prefix) is not int or num_prefix < 0:
        raise InvalidArgumentError(f"resize_positions: num_prefix={num_prefix!r} is not a whole number from 0.")
    array = np.asarray(positions)
    rows, columns = before
    if array.ndim != 3 or array.shape[:2] != (1, num_prefix + rows * columns):
        raise InvalidArgumentError(
            f"resize_positions: positions of shape {array.shape} do not form {num_prefix} in front and a grid of {rows} x "
            f"{columns} patches; expected (1, {num_prefix + rows * columns}, hidden_dim)."
        )
    if tuple(before) == tuple(after):
        return array.astype(np.float32)
    along_rows, along_columns = (
        resize_matrix(old, new, scale=(new + _OFFSET) / old if rule == "bicubic_offset" else None, **_ARGUMENTS[rule])
        for old, new in zip(before, after, strict=True)
    )
    prefix, patches = array[0, :num_prefix], array[0, num_prefix:]
    grid = patches.astype(np.float64).reshape(rows, columns, -1)  # (rows, columns, hidden_dim)
    resized = _along_both(along_rows, along_columns, grid).reshape(after[0] * after[1], -1)
    return np.concatenate([prefix.astype(np.float32), resized.astype(np.float32)])[None]


def resize_patches(
    kernel: npt.ArrayLike, *, before: int, after: int, channels: int, rule: PatchResize
) -> npt.NDArray[np.float32]:
    """Returns the patches' projection for another patch size; equal sizes come back to the bit.

    Paper: Beyer et al. 2023, arXiv 2212.08013, section 3.4. A patch resized by the matrix B and projected by the new kernel
    should give the token it gave before, `(B x) . new = x . old` for every x: `new = pinv(B).T @ old` is exactly that where
    patches grow, and the nearest to it where they shrink. B is the Kronecker product of one matrix M for each direction, so
    its pseudo-inverse is that of `pinv(M)`, and no matrix of `before**2 x after**2` is needed.

    Args:
        kernel: `(before * before * channels, hidden_dim)`, its rows in the order y, x, channel; any float dtype.
        before: Side of a patch, px.
        after: Side wanted, px.
        channels: Channels of the images.
        rule: How a patch is resized: "bicubic_antialias" as timm, or "bilinear", without antialias, as FlexiViT.

    Raises:
        InvalidArgumentError: The kernel is not of such patches, or an argument is not legal.

    Example:
        >>> resize_patches(np.ones((8 * 8 * 3, 16)), before=8, after=4, channels=3, rule="bilinear").shape
        (48, 16)
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
    """Returns the patches' projection for another number of channels; equal numbers come back to the bit.

    With `old[c]` the kernel of channel c, `new[i]` is
    "sum": `sum of old`, for one channel only: a grey image answers as the same grey in every old channel did;
    "mean": `sum of old / after`, the mean kernel in every channel, scaled by `before / after`: an image with the same
    numbers in every channel answers as it did;
    "repeat": `old[i % before] * before / after`, the old channels over and over: each keeps its own colours, and the answer
    its size; to the bit where `after` is a multiple of `before` and the image repeats its channels too.
    timm takes "sum" for one channel and "repeat" for every other number.

    Args:
        kernel: `(patch * patch * before, hidden_dim)`, its rows in the order y, x, channel; any float dtype.
        before: Channels it is for.
        after: Channels wanted.
        rule: "sum", "mean" or "repeat".

    Raises:
        InvalidArgumentError: The kernel is not of square patches with such channels, or an argument is not legal.

    Example:
        >>> resize_channels(np.array([[1.0], [2.0], [3.0]]), before=3, after=1, rule="sum").tolist()
        [[6.0]]
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
        raise InvalidArgumentError(
            f"resize_channels: 'sum' makes one channel, not {after}; choose 'mean' or 'repeat' for several."
        )
    old = array.astype(np.float64).reshape(cells, before, -1)  # (y * x, channel, hidden_dim)
    if rule == "repeat":
        new = old[:, np.arange(after) % before] * (before / after)
    else:
        new = np.repeat(old.sum(axis=1, keepdims=True) / after, after, axis=1)
    return new.reshape(cells * after, -1).astype(np.float32)


def _kernel(distances: Matrix, kind: Kind, cubic: float) -> Matrix:
    """Returns the weight of old cells at these distances, in cells."""
    x = np.abs(distances)
    if kind == "bilinear":
        near, far = 1 - x, np.zeros_like(x)
    else:
        near = ((cubic + 2) * x - (cubic + 3)) * x * x + 1
        far = ((x - 5) * x + 8) * x * cubic - 4 * cubic
    weights: Matrix = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return weights


def _along_both(along_rows: Matrix, along_columns: Matrix, grid: Matrix) -> Matrix:
    """Returns a grid `(rows, columns, ...)` resampled along its first two axes."""
    rows_done = np.tensordot(along_rows, grid, 1)  # (new rows, columns, ...)
    resized: Matrix = np.tensordot(along_columns, rows_done, (1, 1)).swapaxes(0, 1)  # (new rows, new columns, ...)
    return resized


def _check_sizes(function: str, **sizes: int) -> None:
    wrong = {name: size for name, size in sizes.items() if type(size) is not int or size < 1}
    if wrong:
        listed = ", ".join(f"{name}={size!r}" for name, size in wrong.items())
        raise InvalidArgumentError(f"{function} needs positive whole numbers, not {listed}.")


def _check_choice(function: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidArgumentError(f"{function} does not know {name}={value!r}; choose one of {list(choices)}.")
