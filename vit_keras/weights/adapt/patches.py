"""Adapts a checkpoint's patch kernel to a model's patch size and channels."""

import math
from dataclasses import dataclass

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.resize import ChannelResize, resize_channels, resize_patches
from vit_keras.weights.mappings.layouts import Array, Layout, Shape
from vit_keras.weights.steps import Change

_LARGEST_PATCH = 2**20  # numbers per patch


@dataclass(frozen=True)
class PatchKernel:
    """The patches that a kernel projects.

    Args:
        side: Side of a patch, px.
        channels: Channels of an image.
    """

    side: int
    channels: int


def find_patches(shape: Shape, layout: Layout, config: ViTConfig, patch_size: int | None = None) -> PatchKernel | None:
    """Returns the patches that a kernel projects; None where they are not square, too large, or ambiguous.

    A kernel of two axes reveals only the product of channels and patch size: 12 channels of 16 px are as many numbers as 3 of
    32 px. It is assumed to have the model's channels or its patch size where only one of the two is possible.

    Args:
        shape: Shape of the file's kernel.
        layout: Layout of the file's kernel.
        config: The model's config.
        patch_size: Side of the file's patches, px; None where unknown.
    """
    found = None
    if len(shape) == 4:
        rows, columns, channels, _ = shape if layout.order is None else (shape[axis] for axis in layout.order)
        if rows == columns and min(rows, channels) > 0:
            found = PatchKernel(rows, channels)
    else:
        sides = {patch_size} if patch_size is not None else {config.patch_size, math.isqrt(shape[0] // config.channels)}
        kernels = [PatchKernel(side, shape[0] // side**2) for side in sides if side and shape[0] % side**2 == 0]
        if patch_size is None:
            kernels = [
                kernel for kernel in kernels if kernel.side == config.patch_size or kernel.channels == config.channels
            ]
        if len(kernels) == 1 and kernels[0].channels:
            found = kernels[0]
    return found if found is not None and found.side**2 * found.channels <= _LARGEST_PATCH else None


def fit_patches(found: PatchKernel, config: ViTConfig, rule: ChannelResize) -> Change:
    """Returns the change from a file's patch kernel to the model's.

    Args:
        found: The patches of the file's kernel.
        config: The model's config.
        rule: How channels are changed.
    """

    def fit(kernel: Array) -> Array:
        if found.channels != config.channels:
            kernel = resize_channels(kernel, before=found.channels, after=config.channels, rule=rule)
        if found.side != config.patch_size:
            kernel = resize_patches(
                kernel, before=found.side, after=config.patch_size, channels=config.channels, rule=config.patch_resize
            )
        return kernel

    return fit
