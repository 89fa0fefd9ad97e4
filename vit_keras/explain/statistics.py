"""Statistics of a trained model: attention distance, position similarity, patch filters, attention of prefix tokens."""

from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.attention import attention_maps
from vit_keras.explain.inputs import check_images
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model


def mean_attention_distance(model: keras.Model, images: Any, *, batch_size: int = 8) -> np.ndarray:
    """Returns the mean attention distance of each head between the centers of patches, over patches and images.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 and appendix D.7. Attention to and from prefix tokens is ignored.

    Args:
        model: A vit_keras model.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        batch_size: Images per batch.

    Shapes:
        returns: `(layers, heads)`, px.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model.
    """
    config, prefix = model_config(model), model_config(model).num_prefix_tokens
    rows, columns = np.indices(config.grid_size).reshape(2, -1) * config.patch_size
    distances = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    images = check_images(model, images)
    sums = []
    for number in range(config.num_layers):  # one block at a time bounds the memory
        maps = attention_maps(model, images, layers=number, batch_size=batch_size)[0][..., prefix:, prefix:]
        among = maps / np.maximum(maps.sum(-1, keepdims=True), 1e-12)  # a patch may attend to registers alone
        sums.append((among * distances).sum(-1).mean(axis=(0, 2)))
    return np.stack(sums)


def position_similarity(model: keras.Model) -> np.ndarray:
    """Returns the cosine similarity of the position embeddings of every two patches.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7.

    Args:
        model: A vit_keras model with learned positions.

    Shapes:
        returns: `(rows, columns, rows, columns)`, the coordinates of one patch and of the other.

    Raises:
        InvalidArgumentError: It is not a vit_keras model, or has no learned positions.
    """
    config = model_config(model)
    if config.position_embedding != "learned":
        raise InvalidArgumentError(
            f'The model {model.name!r} has position_embedding="{config.position_embedding}", but only learned positions can be compared.'
        )
    vectors = ops.convert_to_numpy(read_model(model).layers["patch_encoder"].positions)[0, -config.num_positions :]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity: np.ndarray = (unit @ unit.T).reshape(*config.grid_size, *config.grid_size)
    return similarity


def patch_filters(model: keras.Model, *, count: int = 28) -> np.ndarray:
    """Returns the principal components of the patch projection as images.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7.

    Args:
        model: A vit_keras model.
        count: Maximum number of components, the largest first.

    Shapes:
        returns: `(count, patch_size, patch_size, channels)`, each from 0 to 1.

    Raises:
        InvalidArgumentError: It is not a vit_keras model, or has a convolutional stem.
    """
    config = model_config(model)
    if config.stem != "patch":
        raise InvalidArgumentError(
            f'The model {model.name!r} has stem="{config.stem}", but patch filters need the single projection of stem="patch".'
        )
    projection = read_model(model).layers["patch_encoder"].projection
    kernel = ops.convert_to_numpy(projection.kernel)  # (patch_dim, hidden_dim)
    components = np.linalg.svd(kernel - kernel.mean(1, keepdims=True), full_matrices=False)[0].T[:count]
    size = config.patch_size
    filters: np.ndarray = components.reshape(-1, size, size, config.channels)
    low, high = (edge(filters, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    scaled: np.ndarray = (filters - low) / np.maximum(high - low, 1e-12)
    return scaled


def token_colors(grids: np.ndarray) -> np.ndarray:
    """Returns the three largest principal components of tokens as colors, so that similar patches have similar colors.

    As in Oquab et al. 2023, arXiv 2304.07193, figure 1. The components are those of all given images together.

    Args:
        grids: `(batch, rows, columns, hidden_dim)`, as `block_features(..., as_grid=True)[0]` returns it.

    Shapes:
        returns: `(batch, rows, columns, 3)`, each channel from 0 to 1 over all images.

    Raises:
        InvalidArgumentError: The shape is another.

    Example:
        >>> token_colors(np.random.default_rng(0).normal(size=(2, 4, 4, 16))).shape
        (2, 4, 4, 3)
    """
    grids = np.asarray(grids)
    if grids.ndim != 4 or grids.shape[-1] < 3:
        raise InvalidArgumentError(f"Expected tokens of shape (batch, rows, columns, hidden_dim), not {grids.shape}.")
    tokens = grids.reshape(-1, grids.shape[-1]).astype("float64")
    centered = tokens - tokens.mean(0)
    colors = centered @ np.linalg.svd(centered, full_matrices=False)[2][:3].T
    low, high = colors.min(0), colors.max(0)
    scaled: np.ndarray = ((colors - low) / np.maximum(high - low, 1e-12)).reshape(*grids.shape[:3], 3)
    return scaled


def prefix_attention(model: keras.Model, images: Any, *, layer: int = -1, batch_size: int = 8) -> dict[str, np.ndarray]:
    """Returns the attention of each prefix token to the patches, by the token's name.

    Args:
        model: A vit_keras model.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        layer: Index of the block, -1 for the last.
        batch_size: Images per batch.

    Returns:
        "class_token", "distillation_token", "register_0" etc., as far as the model has them; each `(batch, heads, rows, columns)`.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model, or there is no such block.
    """
    config = model_config(model)
    names = ["class_token"] * config.class_token + ["distillation_token"] * config.distillation_token
    names += [f"register_{number}" for number in range(config.num_registers)]
    maps = attention_maps(model, images, layers=layer, batch_size=batch_size)[0]
    patches = maps[..., config.num_prefix_tokens :]
    return {name: patches[:, :, place].reshape(*maps.shape[:2], *config.grid_size) for place, name in enumerate(names)}
