"""Outputs of blocks as arrays, per token or per patch."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.explain.inputs import check_images, split_batches
from vit_keras.models.features import feature_extractor as feature_extractor  # also public here


def block_features(
    model: keras.Model,
    images: Any,
    *,
    blocks: Sequence[int] | int | None = -1,
    norm: bool = False,
    as_grid: bool = False,
    batch_size: int = 8,
) -> np.ndarray:
    """Returns the outputs of blocks.

    Args:
        model: A vit_keras model.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        blocks: Indices of blocks, -1 for the last; None for all.
        norm: Applies the model's final norm to the tokens of each block.
        as_grid: Returns the patches alone, as a grid of rows and columns.
        batch_size: Images per batch.

    Shapes:
        returns: `(blocks, batch, tokens, hidden_dim)`, or `(blocks, batch, rows, columns, hidden_dim)`; float32.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model, there is no such block, or the model has no norm of tokens.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> block_features(vit(config), np.zeros((1, 16, 16, 3)), as_grid=True).shape
        (1, 1, 2, 2, 16)
    """
    extractor = feature_extractor(model, blocks=blocks, norm=norm, as_grid=as_grid)
    parts = []
    for batch in split_batches(check_images(model, images, any_size=True), batch_size):
        outputs = extractor(batch, training=False)
        outputs = outputs if isinstance(outputs, list) else [outputs]  # Keras unwraps a list of one
        parts.append(np.stack([ops.convert_to_numpy(ops.cast(output, "float32")) for output in outputs]))
    return np.concatenate(parts, axis=1)
