"""Adapts a checkpoint's patch kernel to a model's patch size and channels."""

import math
from dataclasses import dataclass, replace

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.options import AdaptOptions
from vit_keras.weights.adapt.resize import ChannelResize, resize_channels, resize_patches
from vit_keras.weights.mappings.layouts import Array, Layout, Shape
from vit_keras.weights.steps import Change, Conversion, MisfitError

_LARGEST_PATCH = 2**20  # numbers per patch


@dataclass(frozen=True)
class PatchKernel:
    """The patches that a kernel projects."""

    side: int  # px
    channels: int


def adapt_patches(
    step: Conversion, shape: Shape, config: ViTConfig, options: AdaptOptions, stated_size: int | None
) -> tuple[Conversion, list[str]]:
    """Returns a step that makes a file's patch kernel of this shape and patch size, px, fit the model, and notes."""
    wanted = PatchKernel(config.patch_size, config.channels)
    patch_size = options.patch_size or stated_size
    found = wanted if config.stem == "conv" else find_patches(shape, step.layout, config, patch_size)
    if found is None:
        why = "not for square patches"
        if patch_size is None and len(shape) == 2:
            why = "for other channels, another patch size, or both: give the file's patch_size, in AdaptOptions"
        raise MisfitError(f"{step.targets[0]} is {step.shapes[0]}, and {step.sources[0]} of {shape} is {why}")
    if found == wanted:
        return step, []
    notes = []
    rule = options.channels if options.channels != "auto" else "sum" if wanted.channels == 1 else "repeat"
    if found.channels != wanted.channels:
        notes.append(f'channels changed from {found.channels} to {wanted.channels} by the rule "{rule}"')
    if found.side != wanted.side:
        notes.append(
            f'patches resized from {found.side} to {wanted.side} px by the pseudo-inverse of "{config.patch_resize}"'
        )
    return replace(step, adapt=_fit_patches(found, config, rule)), notes


def find_patches(shape: Shape, layout: Layout, config: ViTConfig, patch_size: int | None = None) -> PatchKernel | None:
    """Returns the patches that a kernel projects; None where they are not square, too large, or ambiguous.

    A kernel of two axes reveals only the product of channels and patch size: 12 channels of 16 px are as many numbers as 3 of
    32 px. It is assumed to have the model's channels or its patch size where only one of the two is possible.
    """
    found = None
    if len(shape) == 4:
        rows, columns, channels, _ = shape if layout.order is None else (shape[axis] for axis in layout.order)
        if rows == columns and min(rows, channels) > 0:
            found = PatchKernel(rows, channels)
    else:
        width = shape[0] if layout.order is None else shape[layout.order[0]]
        sides = {patch_size} if patch_size is not None else {config.patch_size, math.isqrt(width // config.channels)}
        kernels = [PatchKernel(side, width // side**2) for side in sides if side and width % side**2 == 0]
        if patch_size is None:
            kernels = [
                found for found in kernels if found.side == config.patch_size or found.channels == config.channels
            ]
        if len(kernels) == 1 and kernels[0].channels:
            found = kernels[0]
    return found if found is not None and found.side**2 * found.channels <= _LARGEST_PATCH else None


def _fit_patches(found: PatchKernel, config: ViTConfig, rule: ChannelResize) -> Change:
    def fit(kernel: Array) -> Array:
        if found.channels != config.channels:
            kernel = resize_channels(kernel, before=found.channels, after=config.channels, rule=rule)
        if found.side != config.patch_size:
            kernel = resize_patches(
                kernel, before=found.side, after=config.patch_size, channels=config.channels, rule=config.patch_resize
            )
        return kernel

    return fit
