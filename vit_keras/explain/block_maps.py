"""One image's attention and rollout after each block, for a page that lets its reader choose the block."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from vit_keras.errors import DataError
from vit_keras.explain.attention import stream_attention
from vit_keras.explain.inputs import check_images
from vit_keras.explain.rollout import combine_rows, compute_pooling_weights, multiply_block
from vit_keras.models.vit import model_config

_QUERIES = {
    "token": "class token",
    "mean": "average patch",
    "token_and_mean": "class token and average patch",
    "map": "pooled patches",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockMaps:
    """Where a model attends to in one image, per block; heads are averaged.

    Args:
        query: Whose attention it is: the tokens that the model pools.
        attention: `(layers, rows, columns)`, float32: attention of these tokens to the patches in each block.
        rollout: `(layers, rows, columns)`, float32: what each patch contributes to these tokens through the blocks up to each.
    """

    query: str
    attention: np.ndarray
    rollout: np.ndarray


def compute_block_maps(model: keras.Model, image: Any) -> BlockMaps:
    """Returns the attention and the rollout of one image for every block, with the attention of one block in memory at a time.

    The last rollout is that of `attention_rollout`. Attention pooling is that of the last block in all maps.

    Args:
        model: A vit_keras model.
        image: `(height, width, channels)`, pixels 0..255.

    Raises:
        DataError: The image does not fit the model, or there are several.
        InvalidArgumentError: It is not a vit_keras model.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=(16, 24), patch_size=8, hidden_dim=16, num_layers=3, num_heads=2, mlp_dim=32)
        >>> maps = compute_block_maps(vit(config), np.zeros((16, 24, 3)))
        >>> maps.query, maps.attention.shape, maps.rollout.shape
        ('class token', (3, 2, 3), (3, 2, 3))
    """
    images, config = check_images(model, image), model_config(model)
    if len(images) != 1:
        raise DataError(f"The maps of blocks are those of one image, not {len(images)}.")
    weights = compute_pooling_weights(model, config, images)
    product = np.eye(config.num_tokens, dtype="float32")[None]
    attention, rollout = [], []
    for heads in stream_attention(model, images, range(config.num_layers)):
        fused = heads.mean(1)
        product = multiply_block(fused, product)
        attention.append(combine_rows(config, weights, fused)[0])
        rollout.append(combine_rows(config, weights, product)[0])
    query = "class and distillation token" if config.has_two_heads else _QUERIES[config.pooling]
    return BlockMaps(query=query, attention=np.stack(attention), rollout=np.stack(rollout))
