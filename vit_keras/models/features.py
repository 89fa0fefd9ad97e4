"""Models that return features: the tokens or feature maps of blocks, and a pyramid of feature maps."""

import math
from collections.abc import Sequence

import keras

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import LayerNorm, PatchGrid
from vit_keras.models.architecture import IMAGES
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.validation import resolve_indices

_LEVELS = (0.25, 0.5, 1.0, 2.0)  # of the patch size


def feature_extractor(
    model: keras.Model, *, blocks: Sequence[int] | int | None = None, norm: bool = False, as_grid: bool = False
) -> keras.Model:
    """Returns a model with the same layers and weights whose outputs are those of blocks.

    Training it trains the layers of `model`, too; `save` and `keras.saving.load_model` work as for every Keras model.

    Args:
        model: A vit_keras model.
        blocks: Indices of blocks, -1 for the last; None for all.
        norm: Applies the model's final norm to the tokens of each block.
        as_grid: Returns feature maps, the patches alone, in rows and columns.

    Returns:
        A functional model from images to `(batch, tokens, hidden_dim)`, or with `as_grid` `(batch, rows, columns, hidden_dim)`;
        a list of these for several blocks.

    Raises:
        InvalidArgumentError: It is not a vit_keras model, there is no such block, or the model has no norm of tokens.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> feature_extractor(vit(config), blocks=[0, -1]).output_shape
        [(None, 5, 16), (None, 5, 16)]
        >>> feature_extractor(vit(config), blocks=[0, -1], norm=True, as_grid=True).output_shape
        [(None, 2, 2, 16), (None, 2, 2, 16)]
    """
    parts = read_model(model)
    indices = resolve_indices(blocks, len(parts.blocks), what="block")
    found = {index: _block_tokens(parts, index, norm=norm) for index in dict.fromkeys(indices)}
    if as_grid:
        found = {index: _as_map(parts, tokens, name=f"map_{index:02d}") for index, tokens in found.items()}
    outputs = [found[index] for index in indices]
    return keras.Model(parts.tensors[IMAGES], outputs, name=f"{model.name}_features")


def feature_pyramid(
    model: keras.Model,
    *,
    strides: Sequence[int] | None = None,
    blocks: Sequence[int] | int = -1,
    norm: bool = False,
    channels: int = 256,
) -> keras.Model:
    """Returns a model from images to feature maps at several strides, for detection and segmentation.

    Paper: Li et al. 2022, arXiv 2203.16527, section 3, "simple feature pyramid": transposed convolutions or max pooling change the
    resolution of the last block's map; a 1x1 and a 3x3 convolution, each with a layer norm, make `channels`. These layers are
    new and have random weights; the others are those of `model`, and are trained with it.

    Args:
        model: A vit_keras model.
        strides: Pixels between neighboring cells, per map: the patch size times or divided by powers of two; None for a quarter, half,
            one and two times the patch size, as far as these are integers.
        blocks: Index of the block for all maps, -1 for the last; or one per stride.
        norm: Applies the model's final norm to the tokens first.
        channels: Channels of each map.

    Returns:
        A functional model from images to a list of maps `(batch, rows, columns, channels)`, in the order of `strides`. Where pooling
        halves an odd number of rows or columns, it is rounded up.

    Raises:
        InvalidArgumentError: It is not a vit_keras model, there is no such block, or a stride can't be made.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=64, patch_size=16, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> feature_pyramid(vit(config), channels=8).output_shape
        [(None, 16, 16, 8), (None, 8, 8, 8), (None, 4, 4, 8), (None, 2, 2, 8)]
    """
    parts = read_model(model)
    strides = _check_strides(strides, parts.config.patch_size)
    if type(channels) is not int or channels < 1:
        raise InvalidArgumentError(f"channels must be a positive integer, got {channels!r}.")
    indices = resolve_indices(blocks, len(parts.blocks), what="block")
    if len(indices) not in (1, len(strides)):
        raise InvalidArgumentError(f"blocks={blocks!r} is neither one block nor one per stride of {list(strides)}.")
    indices = indices * len(strides) if len(indices) == 1 else indices
    maps = {
        index: _as_map(parts, _block_tokens(parts, index, norm=norm), name=f"map_{index:02d}")
        for index in dict.fromkeys(indices)
    }
    levels = [
        _make_level(maps[index], parts.config, stride, channels) for index, stride in zip(indices, strides, strict=True)
    ]
    return keras.Model(parts.tensors[IMAGES], levels, name=f"{model.name}_pyramid")


def _block_tokens(parts: ModelParts, index: int, *, norm: bool) -> keras.KerasTensor:
    tokens = parts.tensors[parts.blocks[index].name]
    if not norm:
        return tokens
    if parts.config.final_norm != "before":
        raise InvalidArgumentError(
            f'norm=True needs a norm of tokens, and the model has final_norm="{parts.config.final_norm}": use norm=False.'
        )
    if index == len(parts.blocks) - 1:
        return parts.tensors["final_norm"]
    return parts.layers["final_norm"](tokens)


def _as_map(parts: ModelParts, tokens: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    if parts.config.max_num_patches is not None:
        raise InvalidArgumentError(
            "The tokens of packed images are no map of one size: take them without as_grid, and put those of one image on its own grid, "
            "vk.data.packed_grid(image), or build the model without max_num_patches for maps of one size."
        )
    prefix, is_dynamic = parts.config.num_prefix_tokens, parts.config.dynamic_image_size
    layer = PatchGrid(num_prefix_tokens=prefix, grid_size=None if is_dynamic else parts.config.grid_size, name=name)
    patches = parts.tensors["conv_stem" if parts.config.stem == "conv" else "patches"]
    return layer(tokens, patches) if is_dynamic else layer(tokens)


def _check_strides(strides: Sequence[int] | None, patch_size: int) -> list[int]:
    if strides is None:
        return [int(patch_size * level) for level in _LEVELS if (patch_size * level).is_integer()]
    strides = list(strides)
    if not strides or len(set(strides)) < len(strides):
        raise InvalidArgumentError(f"strides={strides!r} is not a list of one or more strides, each at most once.")
    legal = [patch_size // 2**power for power in range(8, 0, -1) if patch_size % 2**power == 0]
    legal += [patch_size * 2**power for power in range(8)]
    wrong = [stride for stride in strides if type(stride) is not int or stride not in legal]
    if wrong:
        raise InvalidArgumentError(
            f"strides={strides!r}: {wrong} can't be made of patches of {patch_size} px by doubling or halving; possible are {legal}."
        )
    return strides


def _make_level(grid: keras.KerasTensor, config: ViTConfig, stride: int, channels: int) -> keras.KerasTensor:
    """Returns one level of the pyramid."""
    level = f"stride_{stride:02d}"
    layout = {"data_format": "channels_last"}
    doublings = round(math.log2(config.patch_size / stride))
    for step in range(doublings):
        if step:
            grid = LayerNorm(epsilon=config.norm_epsilon, name=f"{level}_up_norm_{step - 1}")(grid)
            grid = keras.layers.Activation("gelu", name=f"{level}_up_gelu_{step - 1}")(grid)
        width = max(grid.shape[-1] // 2, 1)
        grid = keras.layers.Conv2DTranspose(width, 2, strides=2, name=f"{level}_up_{step}", **layout)(grid)
    for step in range(-doublings):
        grid = keras.layers.MaxPooling2D(2, padding="same", name=f"{level}_down_{step}", **layout)(grid)
    for part, side in (("project", 1), ("smooth", 3)):
        convolution = keras.layers.Conv2D(
            channels, side, padding="same", use_bias=False, name=f"{level}_{part}", **layout
        )
        last = level if part == "smooth" else f"{level}_{part}_norm"
        grid = LayerNorm(epsilon=config.norm_epsilon, name=last)(convolution(grid))
    return grid
