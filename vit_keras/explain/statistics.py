"""What a model has learned, in numbers: how far its heads look, what its positions are like, what its patches look for."""

from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.attention import attention_maps
from vit_keras.explain.recording import blocks_of, checked_images
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model


def mean_attention_distance(model: keras.Model, images: Any, *, batch_size: int = 8) -> np.ndarray:
    """Returns how far each head looks from patch to patch, the mean over patches and images.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 and appendix D.7. Between the middles of patches; attention to and from
    other tokens is left out.

    Args:
        model: A model that `vit` or `from_preset` made.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        batch_size: Images at once.

    Shapes:
        returns: `(layers, heads)`, px.

    Raises:
        DataError: The images are none of the model's.
        InvalidArgumentError: The model is none of ours.
    """
    config, prefix = model_config(model), model_config(model).num_prefix_tokens
    rows, columns = np.indices(config.grid_size).reshape(2, -1) * config.patch_size
    distances = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    images = checked_images(model, images)
    sums = []
    for number in range(config.num_layers):  # a block's maps at a time
        maps = attention_maps(model, images, layers=number, batch_size=batch_size)[0][..., prefix:, prefix:]
        among = maps / np.maximum(maps.sum(-1, keepdims=True), 1e-12)  # a patch may look at registers alone
        sums.append((among * distances).sum(-1).mean(axis=(0, 2)))
    return np.stack(sums)


def position_similarity(model: keras.Model) -> np.ndarray:
    """Returns the cosine between the position vectors of every two patches.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7.

    Args:
        model: A model that `vit` or `from_preset` made, with learned positions.

    Shapes:
        returns: `(rows, columns, rows, columns)`; the first two say which patch, the last two beside which other.

    Raises:
        InvalidArgumentError: The model is none of ours, or has no learned positions.
    """
    config = model_config(model)
    if config.position_embedding != "learned":
        raise InvalidArgumentError(
            f'The model {model.name!r} has position_embedding="{config.position_embedding}", so there are no learned positions to compare.'
        )
    vectors = ops.convert_to_numpy(read_model(model).layers["patch_encoder"].positions)[0, -config.num_patches :]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity: np.ndarray = (unit @ unit.T).reshape(*config.grid_size, *config.grid_size)
    return similarity


def patch_filters(model: keras.Model, *, count: int = 28) -> np.ndarray:
    """Returns the principal components of the patches' projection, as pictures.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7: the directions in which patches differ most to the model.

    Args:
        model: A model that `vit` or `from_preset` made.
        count: How many, the greatest first; fewer where there are fewer.

    Shapes:
        returns: `(count, patch_size, patch_size, channels)`, each from 0 to 1.

    Raises:
        InvalidArgumentError: The model is none of ours, or its stem is made of convolutions.
    """
    config = model_config(model)
    if config.stem != "patch":
        raise InvalidArgumentError(
            f'The model {model.name!r} has stem="{config.stem}": no one matrix projects its patches.'
        )
    kernel = ops.convert_to_numpy(
        read_model(model).layers["patch_encoder"].projection.kernel
    )  # (patch_dim, hidden_dim)
    components = np.linalg.svd(kernel - kernel.mean(1, keepdims=True), full_matrices=False)[0].T[:count]
    size = config.patch_size
    filters: np.ndarray = components.reshape(-1, size, size, config.channels)
    low, high = (edge(filters, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    scaled: np.ndarray = (filters - low) / np.maximum(high - low, 1e-12)
    return scaled


def token_colors(grids: np.ndarray) -> np.ndarray:
    """Returns colours in which patches that are alike to the model look alike: their three greatest principal components.

    As in Oquab et al. 2023, arXiv 2304.07193, figure 1; the same colour means the same in every image given together.

    Args:
        grids: `(batch, rows, columns, hidden_dim)`, as `features(..., as_grid=True)[0]` gives it.

    Shapes:
        returns: `(batch, rows, columns, 3)`, each channel from 0 to 1 over all images.

    Raises:
        InvalidArgumentError: These are no grids of tokens.

    Example:
        >>> token_colors(np.random.default_rng(0).normal(size=(2, 4, 4, 16))).shape
        (2, 4, 4, 3)
    """
    grids = np.asarray(grids)
    if grids.ndim != 4 or grids.shape[-1] < 3:
        raise InvalidArgumentError(f"Expected tokens of shape (batch, rows, columns, hidden_dim), not {grids.shape}.")
    tokens = grids.reshape(-1, grids.shape[-1]).astype("float64")
    centred = tokens - tokens.mean(0)
    colours = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T
    low, high = colours.min(0), colours.max(0)
    scaled: np.ndarray = ((colours - low) / np.maximum(high - low, 1e-12)).reshape(*grids.shape[:3], 3)
    return scaled


def prefix_attention(model: keras.Model, images: Any, *, layer: int = -1, batch_size: int = 8) -> dict[str, np.ndarray]:
    """Returns what each token in front of the patches looks at, by its name.

    Args:
        model: A model that `vit` or `from_preset` made.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        layer: Which block, -1 for the last.
        batch_size: Images at once.

    Returns:
        "class_token", "distillation_token", "register_0" and on, those that the model has; each `(batch, heads, rows, columns)`.

    Raises:
        DataError: The images are none of the model's.
        InvalidArgumentError: The model is none of ours, or there is no such block.
    """
    config = model_config(model)
    names = ["class_token"] * config.class_token + ["distillation_token"] * config.distillation_token
    names += [f"register_{number}" for number in range(config.num_registers)]
    blocks_of(model)
    maps = attention_maps(model, images, layers=layer, batch_size=batch_size)[0]
    patches = maps[..., config.num_prefix_tokens :]
    return {name: patches[:, :, place].reshape(*maps.shape[:2], *config.grid_size) for place, name in enumerate(names)}
