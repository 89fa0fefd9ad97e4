"""Attention rollout: how much each patch contributes to the output through all blocks."""

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.attention import attention_maps
from vit_keras.explain.block_record import compute_block_inputs, compute_shared_bias
from vit_keras.explain.inputs import check_images, split_batches
from vit_keras.explain.logits import compute_pooling_attention, normalize_for_pooling
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model
from vit_keras.validation import is_number, list_words

Fusion = Literal["mean", "max", "min"]
_FUSIONS: dict[str, Any] = {"mean": np.mean, "max": np.max, "min": np.min}


def attention_rollout(
    model: keras.Model, images: Any, *, fusion: Fusion = "mean", discard_rate: float = 0.0, batch_size: int = 8
) -> np.ndarray:
    """Returns how much each patch contributes to the input of the head: the product of all blocks' attention.

    Paper: Abnar and Zuidema 2020, arXiv 2005.00928, section 3: the identity is added to each block's attention for the residual, and
    rows are normalized to a sum of 1 before the blocks are multiplied, the first block rightmost.

    Args:
        model: A vit_keras model.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        fusion: How heads are combined: "mean", "max" or "min".
        discard_rate: Fraction of each row's weights that are set to 0, the smallest first.
        batch_size: Images per batch.

    Shapes:
        returns: `(batch, rows, columns)` of patches, float32, not negative; a map sums to at most 1, less by the share of prefix tokens.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model, or an argument is not legal.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=(16, 24), patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> attention_rollout(vit(config), np.zeros((1, 16, 24, 3))).shape
        (1, 2, 3)
    """
    if fusion not in get_args(Fusion):
        raise InvalidArgumentError(f"fusion must be one of {list_words(get_args(Fusion))}, got {fusion!r}.")
    if not is_number(discard_rate) or not 0 <= discard_rate < 1:
        raise InvalidArgumentError(f"discard_rate must be at least 0 and below 1, got {discard_rate!r}.")
    images = check_images(model, images)
    parts = []
    for batch in split_batches(images, batch_size):
        maps = attention_maps(model, batch, batch_size=len(batch))
        fused = _FUSIONS[fusion](maps, axis=2)  # (layers, batch, tokens, tokens)
        product = multiply_blocks(_discard_smallest(fused, discard_rate))
        parts.append(weight_patches(model, batch, product))
    return np.concatenate(parts)


def multiply_blocks(layers: np.ndarray) -> np.ndarray:
    """Returns the product of all blocks' attention with the residual; rows sum to 1.

    In `(batch, tokens, tokens)`, row i has the contributions of the input tokens to output token i.
    """
    product = np.eye(layers.shape[-1], dtype=layers.dtype)
    for layer in layers:
        product = multiply_block(layer, product)
    return product


def multiply_block(layer: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Returns the product of one block's attention with the residual, `(batch, tokens, tokens)`, and of the blocks before it."""
    mixed = layer + np.eye(layer.shape[-1], dtype=layer.dtype)
    result: np.ndarray = mixed / mixed.sum(-1, keepdims=True) @ product
    return result


def weight_patches(model: keras.Model, images: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Returns each patch's contribution to the input of the head: the rows of a product, weighted as the model pools its tokens."""
    config = model_config(model)
    weights = np.concatenate([compute_pooling_weights(model, config, batch) for batch in split_batches(images, 8)])
    return combine_rows(config, weights, product)


def combine_rows(config: ViTConfig, weights: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Returns the weighted sum of the rows of `(batch, tokens, tokens)` as a map of the patches, `(batch, rows, columns)`, float32."""
    rows = np.einsum("bt,btk->bk", weights, product)
    patches: np.ndarray = rows[:, config.num_prefix_tokens :].reshape(-1, *config.grid_size).astype("float32")
    return patches


def compute_pooling_weights(model: keras.Model, config: ViTConfig, images: np.ndarray) -> np.ndarray:
    """Returns the weight of each token of the last block in the pooling, `(batch, tokens)`."""
    if config.pooling == "map":
        last = config.num_layers - 1
        parts = read_model(model)
        tokens, bias = compute_block_inputs(model, images, [last])[last], compute_shared_bias(parts)
        output = parts.blocks[last](tokens, attention_bias=bias, training=False)
        weights = compute_pooling_attention(model, normalize_for_pooling(model, output))
        mean_of_heads: np.ndarray = ops.convert_to_numpy(weights).mean(1)
        return mean_of_heads
    token, mean = np.zeros(config.num_tokens), np.zeros(config.num_tokens)
    token[0] = 1.0
    mean[config.num_prefix_tokens :] = 1 / config.num_patches
    if config.has_two_heads:
        token[:2] = 0.5
    row = {"token": token, "mean": mean, "token_and_mean": (token + mean) / 2}[config.pooling]
    return np.tile(row, (len(images), 1))


def _discard_smallest(maps: np.ndarray, rate: float) -> np.ndarray:
    count = int(rate * maps.shape[-1])
    if not count:
        return maps
    result = maps.copy()
    np.put_along_axis(result, np.argpartition(maps, count - 1, axis=-1)[..., :count], 0.0, axis=-1)
    return result
