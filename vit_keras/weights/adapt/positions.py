"""Adapts a checkpoint's positions to a model's tokens and grid of patches."""

import math
from dataclasses import dataclass

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.resize import resize_positions
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.steps import Change

_LARGEST_GRID = 256 * 256  # patches


@dataclass(frozen=True)
class Positions:
    """The layout of a file's positions: those of prefix tokens, then a grid.

    Args:
        prefix: Prefix tokens that have positions.
        grid: Rows and columns.
    """

    prefix: int
    grid: tuple[int, int]


def find_positions(count: int, config: ViTConfig, grid_size: tuple[int, int] | None) -> Positions | None:
    """Returns the layout of a file's positions; None where none is plausible.

    Args:
        count: Number of positions in the file.
        config: The model's config.
        grid_size: Their rows and columns; None where unknown.

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


def fit_positions(found: Positions, config: ViTConfig) -> Change:
    """Returns the change from a file's positions to the model's; prefix tokens without positions in the file get zeros.

    Args:
        found: The layout of the file's positions, with at most the model's prefix tokens.
        config: The model's config.
    """
    wanted = config.num_prefix_tokens if config.position_on_prefix else found.prefix

    def fit(positions: Array) -> Array:
        prefix, patches = positions[:, : found.prefix], positions[:, found.prefix :]
        if found.grid != config.grid_size:
            patches = resize_positions(patches, before=found.grid, after=config.grid_size, rule=config.position_resize)
        zeros = np.zeros((1, wanted - found.prefix, positions.shape[-1]), positions.dtype)
        return np.concatenate([prefix, zeros, patches], axis=1)

    return fit
