"""Attention weights of blocks and heads."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.explain.block_record import compute_block_inputs, compute_shared_bias, compute_weights
from vit_keras.explain.inputs import check_images, split_batches
from vit_keras.models.wiring import read_model
from vit_keras.validation import resolve_indices


def attention_maps(
    model: keras.Model,
    images: Any,
    *,
    layers: Sequence[int] | int | None = None,
    heads: Sequence[int] | int | None = None,
    batch_size: int = 8,
) -> np.ndarray:
    """Returns the attention weights of blocks and heads.

    They are recomputed outside of the model, which keeps its fused kernels and is not changed. The order of tokens is class token,
    distillation token, registers, as far as the model has them, then the patches row by row.

    Args:
        model: A vit_keras model.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        layers: Indices of blocks, -1 for the last; None for all.
        heads: Indices of heads; None for all.
        batch_size: Images per batch, which bounds the memory beside the result.

    Shapes:
        returns: `(layers, batch, heads, tokens, tokens)`, float32; rows sum to 1.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model, or there is no such block or head.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> attention_maps(vit(config), np.zeros((1, 16, 16, 3)), layers=-1).shape
        (1, 1, 2, 5, 5)
    """
    blocks = read_model(model).blocks
    indices = resolve_indices(layers, len(blocks), what="block")
    wanted = resolve_indices(heads, blocks[0].num_heads, what="head")
    images = check_images(model, images)
    parts = [
        np.stack([weights[:, wanted] for weights in stream_attention(model, batch, indices)])
        for batch in split_batches(images, batch_size)
    ]
    return np.concatenate(parts, axis=1)


def stream_attention(model: keras.Model, images: np.ndarray, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields the attention weights of one block after the other, `(batch, heads, tokens, tokens)`, float32."""
    parts, inputs = read_model(model), compute_block_inputs(model, images, indices)
    bias = compute_shared_bias(parts)
    for index in indices:
        yield ops.convert_to_numpy(compute_weights(parts.blocks[index], inputs[index], shared_bias=bias))
