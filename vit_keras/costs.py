"""Closed forms of a ViT's parameters, MACs (multiply-adds) and activations (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

# mypy: disable-error-code="no-any-return"

import math
from itertools import pairwise
from typing import Any, TypeAlias

ViTConfig: TypeAlias = Any
"""`vit_keras.ViTConfig`, whose module imports this one."""


def num_params(config: ViTConfig) -> int:
    """Returns the trainable parameters without a head."""
    dim = config.hidden_dim
    stem = sum(9 * before * after + 2 * after for before, after in pairwise(_stem_channels(config)))
    embed = (config.patch_dim + config.patch_bias) * dim + config.num_prefix_tokens * dim
    positions = config.num_positions + config.position_on_prefix * config.num_prefix_tokens
    learned = positions * dim if config.position_embedding == "learned" else 0
    final_dim = {"before": dim, "after": config.pooled_dim, "none": 0}[config.final_norm]
    norms = _norm_params(config, dim * (config.stem_norm + config.patch_norm) + final_dim)
    mlp = _mlp_params(config, _map_mlp_dim(config), gated=False, bias=True)
    pool = dim + 4 * (dim * dim + dim) + mlp + _norm_params(config, dim) if config.pooling == "map" else 0
    pre_logits = (config.pooled_dim + 1) * config.pre_logits_dim if config.pre_logits_dim else 0
    shared = _relative_position_params(config) if config.relative_position_shared else 0
    return stem + embed + learned + norms + shared + config.num_layers * _block_params(config) + pool + pre_logits


def _block_params(config: ViTConfig) -> int:
    dim, head_dim = config.hidden_dim, config.hidden_dim // config.num_heads
    biases = {"all": 3, "query_value": 2, "none": 0}[config.qkv_bias] * dim
    attention = 3 * dim * dim + biases + dim * dim + dim * config.projection_bias
    attention += _norm_params(config, 2 * head_dim * config.qk_norm)
    attention += 3 * head_dim * config.differential_attention  # four vectors of half a head, and a norm of a head
    if not config.relative_position_shared:
        attention += _relative_position_params(config)
    rotary = dim if config.rotary_embedding == "mixed" else 0  # x and y, head_dim / 2 in each head
    branches = 1 if config.parallel_block else 2
    scales = branches * dim if config.layer_scale is not None and config.block_norm == "before" else 0
    mlp = _mlp_params(config, config.mlp_dim, gated=config.gated_mlp, bias=config.projection_bias)
    if config.parallel_block and config.differential_attention:
        mlp -= dim  # both branches have one bias
    inner_norms = config.mlp_dim * config.mlp_inner_norm + dim * config.attention_inner_norm
    norms = _norm_params(config, branches * dim + inner_norms)
    return attention + rotary + mlp + norms + scales


def _norm_params(config: ViTConfig, dim: int) -> int:
    return dim * (2 if config.norm == "layer" else 1)


def _relative_position_params(config: ViTConfig) -> int:
    offsets, heads, inside = _count_offsets(config), config.num_heads, config.relative_position_dim
    of_class_token = 3 if config.num_prefix_tokens else 0
    kinds = {"none": 0, "table": (offsets + of_class_token) * heads, "mlp": 3 * inside + (inside + 1) * heads}
    return kinds[config.relative_position]


def _count_offsets(config: ViTConfig) -> int:
    """Returns the number of offsets between two patches."""
    rows, columns = config.grid_size
    return (2 * rows - 1) * (2 * columns - 1)


def _mlp_params(config: ViTConfig, mlp_dim: int, *, gated: bool, bias: bool) -> int:
    inside = mlp_dim * (2 if gated else 1)
    return config.hidden_dim * (inside + mlp_dim) + (inside + config.hidden_dim) * bias


def _map_mlp_dim(config: ViTConfig) -> int:
    return config.map_mlp_dim or config.mlp_dim


def num_macs(config: ViTConfig) -> int:
    """Returns the MACs per image of the forward pass without a head, in matrix products and convolutions."""
    dim, tokens, mlp = config.hidden_dim, config.num_tokens, config.mlp_dim
    height, width = config.image_size
    stem = sum(
        9 * before * after * (height >> index) * (width >> index)
        for index, (before, after) in enumerate(pairwise(_stem_channels(config)), start=1)
    )
    embed = config.num_patches * config.patch_dim * dim
    block = tokens * (4 * dim * dim + (3 if config.gated_mlp else 2) * dim * mlp) + 2 * tokens * tokens * dim
    seen = tokens if config.map_includes_prefix else config.num_patches
    in_pooling = 2 * seen * dim * dim + 2 * dim * dim + 2 * seen * dim + 2 * dim * _map_mlp_dim(config)
    pool = in_pooling if config.pooling == "map" else 0
    networks = (1 if config.relative_position_shared else config.num_layers) * (config.relative_position == "mlp")
    biases = networks * _count_offsets(config) * config.relative_position_dim * (2 + config.num_heads)
    return stem + embed + config.num_layers * block + biases + pool + config.pooled_dim * (config.pre_logits_dim or 0)


def num_activations(config: ViTConfig) -> int:
    """Returns the numbers per image that training keeps for the backward pass.

    Counted in each block: the input of every matrix product, norm and activation, and the attention weights, which flash
    attention would not keep. With `remat="block"`: one block, and the input of every block.
    """
    dim, tokens = config.hidden_dim, config.num_tokens
    mlp = (3 if config.gated_mlp else 2) + config.mlp_inner_norm
    rotated = 2 * dim * ((config.rotary_embedding != "none") + config.qk_norm)  # queries and keys, once more
    inside = (
        tokens * ((8 + config.attention_inner_norm) * dim + rotated + mlp * config.mlp_dim)
        + config.num_heads * tokens * tokens
    )
    kept = tokens * dim + inside if config.remat == "none" else tokens * dim
    blocks = config.num_layers * kept + (inside if config.remat == "block" else 0)
    embed = math.prod(config.image_shape) + config.num_patches * config.patch_dim
    return embed + (2 + config.stem_norm + config.patch_norm) * tokens * dim + blocks


def _stem_channels(config: ViTConfig) -> list[int]:
    """Returns the stem's channels, from the image's to the last convolution's."""
    if config.stem == "patch":
        return [config.channels]
    halvings = config.patch_size.bit_length() - 1
    return [config.channels, *(config.hidden_dim >> (halvings - 1 - index) for index in range(halvings))]
