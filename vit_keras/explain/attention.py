"""Which token looks at which."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.explain.recording import (
    attention_scores,
    block_inputs,
    blocks_of,
    checked_images,
    chosen,
    chosen_blocks,
    pieces,
    queries_keys_values,
)


def attention_maps(
    model: keras.Model,
    images: Any,
    *,
    layers: Sequence[int] | int | None = None,
    heads: Sequence[int] | int | None = None,
    batch_size: int = 8,
) -> np.ndarray:
    """Returns the attention weights of some blocks and heads: row by row what each token looks at.

    They are computed beside the model, which keeps its fused kernels and is not changed; blocks behind the last that is asked for are
    not run. Of tokens the class token is the first where there is one, then the distillation token, registers, and the patches row by row.

    Args:
        model: A model that `vit` or `from_preset` made.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        layers: Numbers of blocks, -1 for the last; None for all.
        heads: Numbers of heads; None for all.
        batch_size: Images at once; memory is bounded by it, but for what is returned.

    Shapes:
        returns: `(layers, batch, heads, tokens, tokens)`, float32; rows sum to 1.

    Raises:
        DataError: The images are none of the model's.
        InvalidArgumentError: The model is none of ours, or there is no such block or head.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> attention_maps(vit(config), np.zeros((1, 16, 16, 3)), layers=-1).shape
        (1, 1, 2, 5, 5)
    """
    numbers, blocks = chosen_blocks(model, layers), blocks_of(model)
    wanted = chosen(heads, blocks[0].num_heads, what="head")
    images = checked_images(model, images)
    parts = []
    for piece in pieces(images, batch_size):
        inputs = block_inputs(model, piece, numbers)
        found = []
        for number in numbers:
            block = blocks[number]
            queries, keys, _ = queries_keys_values(block.attention, block.attention_norm(inputs[number]))
            weights = ops.softmax(attention_scores(queries, keys))
            found.append(ops.convert_to_numpy(weights)[:, wanted])
        parts.append(np.stack(found))
    return np.concatenate(parts, axis=1)
