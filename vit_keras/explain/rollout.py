"""What the output sees of the image, through all blocks."""

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.attention import attention_maps
from vit_keras.explain.recording import (
    block_inputs,
    blocks_of,
    checked_images,
    normalised_tokens,
    pieces,
    pooling_attention,
)
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model
from vit_keras.validation import is_number

Fusion = Literal["mean", "max", "min"]
_FUSED: dict[str, Any] = {"mean": np.mean, "max": np.max, "min": np.min}


def attention_rollout(
    model: keras.Model, images: Any, *, fusion: Fusion = "mean", discard_rate: float = 0.0, batch_size: int = 8
) -> np.ndarray:
    """Returns how much of each patch reaches what the head sees, attention of all blocks multiplied.

    Paper: Abnar and Zuidema 2020, arXiv 2005.00928, section 3: in each block half of a token is its own, by the residual, and rows are
    brought to a sum of 1 before blocks are multiplied, the first block's rightmost.

    Args:
        model: A model that `vit` or `from_preset` made.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        fusion: How heads become one: "mean", "max" or "min".
        discard_rate: Fraction of each row's weights, the smallest, that are left out.
        batch_size: Images at once.

    Shapes:
        returns: `(batch, rows, columns)` of patches, float32; no number is negative. Each map sums to what the head sees of patches and
            not of the other tokens, 1 at most.

    Raises:
        DataError: The images are none of the model's.
        InvalidArgumentError: The model is none of ours, or an argument is not legal.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=(16, 24), patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> attention_rollout(vit(config), np.zeros((1, 16, 24, 3))).shape
        (1, 2, 3)
    """
    if fusion not in get_args(Fusion):
        raise InvalidArgumentError(f"fusion={fusion!r} is none of {list(get_args(Fusion))}.")
    if not is_number(discard_rate) or not 0 <= discard_rate < 1:
        raise InvalidArgumentError(f"discard_rate={discard_rate!r} is not a fraction in [0, 1).")
    images = checked_images(model, images)
    parts = []
    for piece in pieces(images, batch_size):
        maps = attention_maps(model, piece, batch_size=len(piece))
        fused = _FUSED[fusion](maps, axis=2)  # (layers, batch, tokens, tokens)
        parts.append(seen_patches(model, piece, multiplied(_without_smallest(fused, discard_rate))))
    return np.concatenate(parts)


def multiplied(layers: np.ndarray) -> np.ndarray:
    """Returns the product of all blocks, each half itself and half the residual, rows summing to 1.

    Args:
        layers: `(layers, batch, tokens, tokens)`, not negative.

    Shapes:
        returns: `(batch, tokens, tokens)`; row i is what token i of the last block has of each token before the first.
    """
    identity = np.eye(layers.shape[-1], dtype=layers.dtype)
    product = np.broadcast_to(identity, layers.shape[1:])
    for layer in layers:
        mixed = layer + identity
        product = mixed / mixed.sum(-1, keepdims=True) @ product
    return product


def seen_patches(model: keras.Model, images: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Returns what the head sees of each patch: the class token's row, the mean of the patches' rows, or what pooling looks at.

    Args:
        model: A model that `vit` or `from_preset` made.
        images: The images that the product is of.
        product: `(batch, tokens, tokens)`, rows of tokens out of the last block.

    Shapes:
        returns: `(batch, rows, columns)`, float32.
    """
    config = model_config(model)
    shares = np.concatenate([_pooled(model, config, piece) for piece in pieces(images, 8)])
    rows = np.einsum("bt,btk->bk", np.broadcast_to(shares, (len(product), shares.shape[-1])), product)
    patches: np.ndarray = rows[:, config.num_prefix_tokens :].reshape(-1, *config.grid_size).astype("float32")
    return patches


def _pooled(model: keras.Model, config: ViTConfig, images: np.ndarray) -> np.ndarray:
    """Returns how much each token out of the last block is of what the head sees, `(batch, tokens)`."""
    tokens, prefix = config.num_tokens, config.num_prefix_tokens
    if config.pooling == "map":
        last = blocks_of(model)[-1]
        found = last(block_inputs(model, images, [config.num_layers - 1])[config.num_layers - 1], training=False)
        layers = read_model(model).layers
        seen: np.ndarray = ops.convert_to_numpy(
            pooling_attention(model, normalised_tokens(config, layers, found))
        ).mean(1)
        return seen
    token, mean = np.zeros(tokens), np.zeros(tokens)
    token[0] = 1.0
    mean[prefix:] = 1 / config.num_patches
    if config.has_two_heads:
        token[:2] = 0.5
    share = {"token": token, "mean": mean, "token_and_mean": (token + mean) / 2}[config.pooling]
    shares: np.ndarray = np.repeat(share[None], len(images), axis=0)
    return shares


def _without_smallest(maps: np.ndarray, rate: float) -> np.ndarray:
    """Returns maps whose rows have lost their smallest weights."""
    count = int(rate * maps.shape[-1])
    if not count:
        return maps
    kept = maps.copy()
    np.put_along_axis(kept, np.argpartition(maps, count - 1, axis=-1)[..., :count], 0.0, axis=-1)
    return kept
