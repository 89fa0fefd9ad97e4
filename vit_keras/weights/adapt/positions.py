"""Adapts a checkpoint's positions to a model's tokens and grid of patches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.resize import resize_positions
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.steps import Change, Conversion, MisfitError, PositionFolding, Step

_LARGEST_GRID = 256 * 256  # patches


@dataclass(frozen=True)
class _Positions:
    prefix: int  # prefix tokens that have positions
    grid: tuple[int, int]  # rows and columns


def adapt_positions(
    step: Conversion,
    count: int,
    config: ViTConfig,
    grid_size: tuple[int, int] | None,
    prefix_tokens: Sequence[Conversion],
) -> tuple[Step, list[str]]:
    """Returns a step that makes a file's positions fit the model, and notes.

    A model without positions of prefix tokens gets them added to the steps of these tokens.
    """
    found = _find_positions(count, config, grid_size)
    if found is None or found.prefix > config.num_prefix_tokens:
        raise MisfitError(
            f"{step.sources[0]} has {count} positions, and the model has {config.num_prefix_tokens} prefix tokens and "
            f"{config.num_positions} patches: the positions are no square grid with so many prefix tokens. For another grid, give "
            "grid_size; for other tokens, see class_token, distillation_token and num_registers"
        )
    notes = []
    before, after = ("x".join(map(str, grid)) for grid in (found.grid, config.grid_size))
    if found.grid != config.grid_size:
        notes.append(f'positions resized from {before} to {after} patches by the rule "{config.position_resize}"')
    elif found.grid[0] != found.grid[1] and grid_size is None:
        notes.append(f"positions assumed to be {before} patches, as in the model; otherwise give grid_size")
    if found.prefix and not config.position_on_prefix:
        tokens: list[Conversion] = []
        for token in prefix_tokens:
            if sum(item.shapes[0][1] for item in tokens) < found.prefix:
                tokens.append(token)
        notes.append(f"positions of {found.prefix} prefix tokens added to the tokens themselves")
        fit = _fit_positions(_Positions(0, found.grid), config)
        return PositionFolding(tuple(tokens), step, found.prefix, fit), notes
    missing = config.num_prefix_tokens - found.prefix
    if config.position_on_prefix and missing:
        notes.append(f"positions of {missing} prefix tokens set to zero: the file has none for them")
    return replace(step, adapt=_fit_positions(found, config)), notes


def _find_positions(count: int, config: ViTConfig, grid_size: tuple[int, int] | None) -> _Positions | None:
    """Returns the layout of a file's positions; None where none is plausible."""
    if not 1 <= count <= _LARGEST_GRID:
        return None
    model = config.num_prefix_tokens if config.position_on_prefix else 0
    prefixes = dict.fromkeys([model, 0, 1, config.class_token + config.distillation_token, config.num_prefix_tokens])
    if grid_size is not None:
        rest = count - grid_size[0] * grid_size[1]
        return _Positions(rest, grid_size) if rest in prefixes else None
    for prefix in prefixes:
        if count - prefix == config.num_positions:
            return _Positions(prefix, config.grid_size)
    for prefix in prefixes:
        side = math.isqrt(max(count - prefix, 0))
        if side and side * side == count - prefix:
            return _Positions(prefix, (side, side))
    return None


def _fit_positions(found: _Positions, config: ViTConfig) -> Change:
    """Returns the change from a file's positions to the model's; prefix tokens without positions in the file get zeros."""
    wanted = config.num_prefix_tokens if config.position_on_prefix else found.prefix

    def fit(positions: Array) -> Array:
        prefix, patches = positions[:, : found.prefix], positions[:, found.prefix :]
        if found.grid != config.grid_size:
            patches = resize_positions(patches, before=found.grid, after=config.grid_size, rule=config.position_resize)
        zeros = np.zeros((1, wanted - found.prefix, positions.shape[-1]), positions.dtype)
        return np.concatenate([prefix, zeros, patches], axis=1)

    return fit
