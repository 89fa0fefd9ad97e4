"""Outputs of blocks as features, per token or per patch."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.explain.inputs import check_images, resolve_indices, split_batches
from vit_keras.models.architecture import IMAGES
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model


def feature_extractor(model: keras.Model, *, blocks: Sequence[int] | int | None = None) -> keras.Model:
    """Returns a model with the same layers and weights whose outputs are those of blocks.

    Args:
        model: A vit_keras model.
        blocks: Indices of blocks, -1 for the last; None for all.

    Returns:
        A functional model from images to `(batch, tokens, hidden_dim)`, or a list of these for several blocks.

    Raises:
        InvalidArgumentError: It is not a vit_keras model, or there is no such block.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> feature_extractor(vit(config), blocks=[0, -1]).output_shape
        [(None, 5, 16), (None, 5, 16)]
    """
    parts = read_model(model)
    indices = resolve_indices(blocks, len(parts.blocks), what="block")
    outputs = [parts.tensors[parts.blocks[index].name] for index in indices]
    return keras.Model(parts.tensors[IMAGES], outputs, name=f"{model.name}_features")


def block_features(
    model: keras.Model,
    images: Any,
    *,
    blocks: Sequence[int] | int | None = -1,
    as_grid: bool = False,
    batch_size: int = 8,
) -> np.ndarray:
    """Returns the outputs of blocks.

    Args:
        model: A vit_keras model.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        blocks: Indices of blocks, -1 for the last; None for all.
        as_grid: Returns the patches alone, as a grid of rows and columns.
        batch_size: Images per batch.

    Shapes:
        returns: `(blocks, batch, tokens, hidden_dim)`, or `(blocks, batch, rows, columns, hidden_dim)`; float32.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model, or there is no such block.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> block_features(vit(config), np.zeros((1, 16, 16, 3)), as_grid=True).shape
        (1, 1, 2, 2, 16)
    """
    extractor, config = feature_extractor(model, blocks=blocks), model_config(model)
    images = check_images(model, images)
    parts = []
    for batch in split_batches(images, batch_size):
        outputs = extractor(batch, training=False)
        outputs = outputs if isinstance(outputs, list) else [outputs]  # Keras unwraps a list of one
        parts.append(np.stack([ops.convert_to_numpy(ops.cast(output, "float32")) for output in outputs]))
    tokens = np.concatenate(parts, axis=1)
    if not as_grid:
        return tokens
    patches: np.ndarray = tokens[:, :, config.num_prefix_tokens :]
    return patches.reshape(*patches.shape[:2], *config.grid_size, patches.shape[-1])
