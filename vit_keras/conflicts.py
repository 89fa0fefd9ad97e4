"""Which fields of `ViTConfig` can't go together, and the nearest values that can."""

# mypy: disable-error-code="no-any-return"

import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

ViTConfig: TypeAlias = Any
"""`vit_keras.ViTConfig`, whose module imports this one."""

LARGEST_SIDE = 8192
"""Of an image, px."""
LARGEST_PATCH = 256
"""Side of a patch, px."""


def find_conflicts(config: ViTConfig) -> Iterator[str]:
    """Yields what is wrong about fields that are legal each for itself, with the nearest legal values."""
    height, width = config.image_size
    is_divided = not (height % config.patch_size or width % config.patch_size)
    if config.partial_patches == "crop" and min(height, width) < config.patch_size:
        yield f"image_size={config.image_size} is smaller than a patch of patch_size={config.patch_size}"
    elif config.partial_patches == "crop" and config.stem != "patch":
        yield f'partial_patches="crop" needs stem="patch", not "{config.stem}"'
    elif config.partial_patches == "refuse" and not is_divided:
        nearest = tuple(_nearest_multiple(side, config.patch_size, largest=LARGEST_SIDE) for side in config.image_size)
        sizes = range(2, LARGEST_PATCH + 1)
        divisors = [size for size in sizes if height % size == 0 and width % size == 0]
        fits = min(divisors, key=lambda size: abs(size - config.patch_size), default=None)
        yield (
            f"patch_size={config.patch_size} does not divide image_size={config.image_size}: "
            f"the nearest image_size is {nearest}" + (f", the nearest patch_size {fits}" if fits else "") + ", and "
            'partial_patches="crop" leaves out the pixels at the bottom and right that fill no patch'
        )
    if config.hidden_dim % config.num_heads:
        divisors = [heads for heads in range(1, config.hidden_dim + 1) if config.hidden_dim % heads == 0]
        fits = min(divisors, key=lambda heads: abs(heads - config.num_heads))
        yield (
            f"num_heads={config.num_heads} does not divide hidden_dim={config.hidden_dim}: the nearest num_heads is {fits}, "
            f"the nearest hidden_dim {_nearest_multiple(config.hidden_dim, config.num_heads)}"
        )
    if config.num_map_heads is not None and config.hidden_dim % config.num_map_heads:
        yield f"num_map_heads={config.num_map_heads} does not divide hidden_dim={config.hidden_dim}"
    if config.pooling != "map" and (config.num_map_heads is not None or config.map_mlp_dim is not None):
        yield f'num_map_heads and map_mlp_dim need pooling="map", not "{config.pooling}"'
    if config.rotary_embedding != "none" and config.hidden_dim // config.num_heads % 4:
        yield (
            f'rotary_embedding="{config.rotary_embedding}" rotates pairs of channels along two axes, so hidden_dim / num_heads '
            f"must be divisible by 4, not {config.hidden_dim // config.num_heads}"
        )
    if config.rotary_embedding != "axial" and (config.rotary_reference is not None or config.rotary_offset):
        yield 'rotary_reference and rotary_offset need rotary_embedding="axial"'
    if config.rotary_embedding == "none" and (config.rotary_temperature, config.rotary_order) != (100.0, "yx"):
        yield "rotary_temperature and rotary_order need a rotary_embedding"
    yield from _find_block_conflicts(config)
    usual = config.pooling == "token" and config.final_norm == "before" and not config.pre_logits_dim
    if config.distillation_token and not config.class_token:
        yield "distillation_token=True needs class_token=True"
    if config.has_two_heads and not usual:
        yield (
            'distillation_token=True needs pooling="token", final_norm="before" and no pre_logits_dim; with '
            "distillation_head=False, no head reads that token, and others are possible"
        )
    if not config.distillation_head and not config.distillation_token:
        yield "distillation_head=False needs distillation_token=True"
    inner_norm = config.mlp_inner_norm or config.attention_inner_norm
    if config.parallel_block and (config.gated_mlp or inner_norm or config.qkv_bias == "query_value"):
        yield (
            "parallel_block=True can't be combined with gated_mlp, mlp_inner_norm, attention_inner_norm or "
            'qkv_bias="query_value"'
        )
    if config.pooling in ("token", "token_and_mean") and not config.class_token:
        yield f'pooling="{config.pooling}" needs class_token=True; without it, use pooling="mean" or "map"'
    if not config.map_includes_prefix and not (config.pooling == "map" and config.num_prefix_tokens):
        yield 'map_includes_prefix=False needs pooling="map" and prefix tokens: class_token=True or num_registers'
    if config.position_embedding.startswith("sincos2d") and config.hidden_dim % 4:
        nearest_dim = _nearest_multiple(config.hidden_dim, 4)
        yield f'position_embedding="{config.position_embedding}" needs a hidden_dim divisible by 4: the nearest to {config.hidden_dim} is {nearest_dim}'
    if config.stem == "conv" and (config.patch_size < 2 or config.patch_size & (config.patch_size - 1)):
        powers = [2**power for power in range(1, 9)]
        nearest_power = min(powers, key=lambda size: abs(size - config.patch_size))
        yield f'stem="conv" halves the image, so patch_size must be a power of two: the nearest to {config.patch_size} is {nearest_power}'
    elif config.stem == "conv" and config.hidden_dim % (config.patch_size // 2):
        nearest_dim = _nearest_multiple(config.hidden_dim, config.patch_size // 2)
        yield f'stem="conv" with patch_size={config.patch_size} needs a hidden_dim divisible by {config.patch_size // 2}: the nearest is {nearest_dim}'
    if config.max_num_patches is not None:
        plain = {
            "partial_patches": "refuse", "dynamic_image_size": False, "stem": "patch", "rotary_embedding": "none",
            "relative_position": "none",
        }  # fmt: skip
        other = [f"{name}={getattr(config, name)!r}" for name, value in plain.items() if getattr(config, name) != value]
        if other:
            yield f"max_num_patches can't be combined with {' or '.join(other)}"
    for name in ("pixel_mean", "pixel_std"):
        if len(getattr(config, name)) not in (1, config.channels):
            yield f"{name} has {len(getattr(config, name))} values for channels={config.channels}: give one, or one per channel"
    if min(config.pixel_std) <= 0:
        yield f"pixel_std={config.pixel_std} has a value that is not positive"
    if config.remat == "block" and (config.dropout_rate or config.attention_dropout_rate):
        yield (
            'remat="block" computes a block twice, and dropout would differ the second time: '
            "set dropout_rate=0 and attention_dropout_rate=0 (stochastic_depth_rate may stay)"
        )


def _find_block_conflicts(config: ViTConfig) -> Iterator[str]:
    if config.relative_position == "none" and (config.relative_position_shared, config.relative_position_dim) != (
        False,
        128,
    ):
        yield 'relative_position_shared and relative_position_dim need relative_position="table" or "mlp"'
    if config.relative_position != "none" and config.dynamic_image_size:
        yield f'relative_position="{config.relative_position}" has biases of one grid, so it needs dynamic_image_size=False'
    if config.relative_position == "table" and config.num_prefix_tokens > config.class_token:
        yield 'relative_position="table" has biases for patches and a class token, not for distillation_token or num_registers'
    if config.relative_position_shared and config.remat == "block":
        yield 'relative_position_shared=True can\'t be combined with remat="block", whose blocks are computed again without it'
    if config.block_norm == "after" and (config.parallel_block or config.norm != "layer"):
        yield 'block_norm="after" needs norm="layer" and parallel_block=False'
    if config.parallel_block and not config.projection_bias:
        yield "parallel_block=True can't be combined with projection_bias=False"
    if config.differential_attention:
        if config.hidden_dim % (2 * config.num_heads):
            nearest_dim = _nearest_multiple(config.hidden_dim, 2 * config.num_heads)
            yield f"differential_attention=True needs a hidden_dim divisible by 2 * num_heads: the nearest is {nearest_dim}"
        if config.qk_norm or config.rotary_embedding != "none" or config.relative_position != "none":
            yield "differential_attention=True can't be combined with qk_norm, rotary_embedding or relative_position"


def _nearest_multiple(number: int, of: int, *, largest: int = sys.maxsize) -> int:
    return max(of, of * min(round(number / of), largest // of))
