"""What makes a checkpoint fit another model: other positions, patches, channels, classes, fewer layers."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, get_args

import numpy as np

from vit_keras.config import PositionResize, ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.weights.adapt.resize import ChannelResize, resize_channels, resize_patches, resize_positions
from vit_keras.weights.mappings.layouts import Array, Layout, Shape
from vit_keras.weights.steps import Surgeon

HeadChange: TypeAlias = Literal["fit", "load", "new"]

_LARGEST_GRID = 256 * 256  # patches that positions are resized from
_LARGEST_PATCH = 2**20  # numbers in a patch that a kernel is resized from


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """What may be changed of a checkpoint to make it fit. Positions and patches are resized by the config's rules.

    Args:
        head: "fit" takes the file's head where its classes are as many and else keeps the model's own, "load" insists on the
            file's, "new" keeps the model's.
        fewer_layers: Lets a model have fewer blocks than the file, the first ones.
        grid_size: Rows and columns of the file's positions; None for what a config.json beside the file says, else for the
            model's own where their number fits, else for a square.
        patch_size: Side of the file's patches, px; None for what a config.json beside the file says, else for what the kernel's
            shape tells.
        channels: How the patches' kernel is made to fit another number of channels; "auto" as timm: "sum" to one, "repeat"
            to others.

    Raises:
        InvalidArgumentError: A value is not legal.

    Example:
        >>> AdaptOptions(head="new").fewer_layers
        False
    """

    head: HeadChange = "fit"
    fewer_layers: bool = False
    grid_size: tuple[int, int] | None = None
    patch_size: int | None = None
    channels: ChannelResize | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        for name, choices in (("head", get_args(HeadChange)), ("channels", ("auto", *get_args(ChannelResize)))):
            if getattr(self, name) not in choices:
                raise InvalidArgumentError(f"{name}={getattr(self, name)!r} is none of {list(choices)}.")
        grid = self.grid_size
        if grid is not None and (len(grid) != 2 or not all(type(side) is int and side > 0 for side in grid)):
            raise InvalidArgumentError(f"grid_size={grid!r} is not (rows, columns).")
        side = self.patch_size
        if side is not None and (type(side) is not int or side < 1):
            raise InvalidArgumentError(f"patch_size={side!r} is not a positive number of px.")


@dataclass(frozen=True)
class Positions:
    """How a file's positions lie: tokens in front that have one, then a grid.

    Args:
        prefix: Tokens in front that have one.
        grid: Rows and columns.
    """

    prefix: int
    grid: tuple[int, int]


def find_positions(count: int, config: ViTConfig, grid_size: tuple[int, int] | None) -> Positions | None:
    """Returns how that many positions lie, or None where no layout makes sense.

    Args:
        count: Positions in the file.
        config: The model's.
        grid_size: Their rows and columns, where they are known.

    Example:
        >>> config = ViTConfig(image_size=384, patch_size=16, hidden_dim=64, num_layers=1, num_heads=1, mlp_dim=64)
        >>> find_positions(197, config, None)
        Positions(prefix=1, grid=(14, 14))
    """
    if not 1 <= count <= _LARGEST_GRID:
        return None
    model = config.num_prefix_tokens if config.position_on_prefix else 0
    prefixes = dict.fromkeys([model, 0, 1, config.class_token + config.distillation_token, config.num_prefix_tokens])
    if grid_size is not None:
        rest = count - grid_size[0] * grid_size[1]
        return Positions(rest, grid_size) if rest in prefixes else None
    for prefix in prefixes:
        if count - prefix == config.num_patches:
            return Positions(prefix, config.grid_size)
    for prefix in prefixes:
        side = math.isqrt(max(count - prefix, 0))
        if side and side * side == count - prefix:
            return Positions(prefix, (side, side))
    return None


def fit_positions(found: Positions, config: ViTConfig) -> Surgeon:
    """Returns what makes a file's positions, those in front of the patches included, the model's.

    Args:
        found: How the file's lie; those in front are no more than the model's.
        config: The model's.
    """
    wanted = config.num_prefix_tokens if config.position_on_prefix else found.prefix
    return partial(
        _fit_positions, prefix=found.prefix, zeros=wanted - found.prefix, before=found.grid, after=config.grid_size,
        rule=config.position_resize,
    )  # fmt: skip


def _fit_positions(
    positions: Array,
    *,
    prefix: int,
    zeros: int,
    before: tuple[int, int],
    after: tuple[int, int],
    rule: PositionResize,
) -> Array:
    front, patches = positions[:, :prefix], positions[:, prefix:]
    if before != after:
        patches = resize_positions(patches, before=before, after=after, rule=rule)
    none = np.zeros((1, zeros, positions.shape[-1]), positions.dtype)
    return np.concatenate([front, none, patches], axis=1)


@dataclass(frozen=True)
class PatchKernel:
    """What a file's patch projection is for.

    Args:
        side: Of a patch, px.
        channels: Of an image.
    """

    side: int
    channels: int


def find_patches(shape: Shape, layout: Layout, config: ViTConfig, patch_size: int | None = None) -> PatchKernel | None:
    """Returns the patches that a kernel is for, or None where they are not square, too large or not known.

    A kernel of two axes tells channels and patch size only as a product: 12 channels of 16 px are as many numbers as 3 of 32 px.
    It is taken to have the model's channels or its patch size where only one of the two can be.

    Args:
        shape: The file's.
        layout: How the file lays it out.
        config: The model's.
        patch_size: Side of the file's patches, px, where it is known.
    """
    if len(shape) == 4:
        rows, columns, channels, _ = shape if layout.order is None else (shape[axis] for axis in layout.order)
        found = PatchKernel(rows, channels) if rows == columns and min(rows, channels) > 0 else None
    else:
        sides = {patch_size} if patch_size is not None else {config.patch_size, math.isqrt(shape[0] // config.channels)}
        fitting = [PatchKernel(side, shape[0] // side**2) for side in sides if side and shape[0] % side**2 == 0]
        if patch_size is None:
            fitting = [
                kernel for kernel in fitting if kernel.side == config.patch_size or kernel.channels == config.channels
            ]
        found = fitting[0] if len(fitting) == 1 and fitting[0].channels else None
    return found if found is not None and found.side**2 * found.channels <= _LARGEST_PATCH else None


def fit_patches(found: PatchKernel, config: ViTConfig, rule: ChannelResize) -> Surgeon:
    """Returns what makes a file's patch kernel the model's.

    Args:
        found: What the file's is for.
        config: The model's.
        rule: How its channels are changed.
    """
    return partial(_fit_patches, found=found, config=config, rule=rule)


def _fit_patches(kernel: Array, *, found: PatchKernel, config: ViTConfig, rule: ChannelResize) -> Array:
    if found.channels != config.channels:
        kernel = resize_channels(kernel, before=found.channels, after=config.channels, rule=rule)
    if found.side != config.patch_size:
        kernel = resize_patches(
            kernel, before=found.side, after=config.patch_size, channels=config.channels, rule=config.patch_resize
        )
    return kernel
