"""Class relevance: attention weighted by the gradient of a class's logit."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.block_record import compute_block_inputs, compute_shared_bias, record_block
from vit_keras.explain.gradients import compute_gradients
from vit_keras.explain.inputs import check_images, split_batches
from vit_keras.explain.logits import compute_logits
from vit_keras.explain.rollout import multiply_blocks, weight_patches
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.vit import model_config, model_num_classes
from vit_keras.models.wiring import read_model


def class_relevance(
    model: keras.Model, images: Any, *, classes: Sequence[int] | int | None = None, batch_size: int = 8
) -> np.ndarray:
    """Returns the relevance of each patch for a class.

    Paper: Chefer et al. 2021, arXiv 2103.15679, section 3.1, equations 5 and 6: each block's mean over heads of the positive part of
    attention times its gradient is accumulated over the blocks.

    Args:
        model: A vit_keras model with a head.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        classes: One class, or one per image; None for the predicted class of each.
        batch_size: Images per batch.

    Shapes:
        returns: `(batch, rows, columns)` of patches, float32, not negative.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model, has no head, or there is no such class.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> class_relevance(vit(config, num_classes=3), np.zeros((1, 16, 16, 3)), classes=2).shape
        (1, 2, 2)
    """
    parts = []
    for batch, weighted in _weight_attention(model, images, classes, batch_size):
        relevance = identity = np.eye(weighted.shape[-1], dtype="float32")
        for layer in weighted:
            relevance = relevance + layer @ relevance
        parts.append(weight_patches(model, batch, relevance - identity))
    return np.concatenate(parts)


def gradient_rollout(
    model: keras.Model, images: Any, *, classes: Sequence[int] | int | None = None, batch_size: int = 8
) -> np.ndarray:
    """Returns an attention rollout in which each head is weighted by its gradient for a class.

    As `attention_rollout`, but of each block's mean over heads of the positive part of attention times its gradient (the fusion of
    Chefer et al. 2021, arXiv 2012.09838, in the product of Abnar and Zuidema 2020, arXiv 2005.00928).

    Args:
        model: A vit_keras model with a head.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        classes: One class, or one per image; None for the predicted class of each.
        batch_size: Images per batch.

    Shapes:
        returns: `(batch, rows, columns)` of patches, float32, not negative.

    Raises:
        DataError: The images do not fit the model.
        InvalidArgumentError: It is not a vit_keras model, has no head, or there is no such class.
    """
    weighted = _weight_attention(model, images, classes, batch_size)
    return np.concatenate([weight_patches(model, batch, multiply_blocks(layers)) for batch, layers in weighted])


def _weight_attention(
    model: keras.Model, images: Any, classes: Sequence[int] | int | None, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of images with the mean over heads of relu(gradient x attention), `(layers, batch, tokens, tokens)`."""
    images = check_images(model, images)
    wanted = _check_classes(model, classes, len(images))
    done = 0
    for batch in split_batches(images, batch_size):
        chosen = None if wanted is None else wanted[done : done + len(batch)]
        yield batch, _multiply_by_gradient(model, batch, chosen)
        done += len(batch)


def _multiply_by_gradient(model: keras.Model, images: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    weights, slopes = compute_attention_gradients(model, images, classes)
    weighted: np.ndarray = np.maximum(slopes * weights, 0).mean(2)
    return weighted


def compute_attention_gradients(
    model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns all attention weights, and the gradients of a class's logit (the predicted class's for None) with respect to them.

    Both are `(layers, batch, heads, tokens, tokens)`.
    """
    parts, config = read_model(model), model_config(model)
    blocks, bias = parts.blocks, compute_shared_bias(parts)
    first = compute_block_inputs(model, images, [0])[0]

    def logits(added: list[Tensor] | None, seen: list[Tensor] | None = None) -> Tensor:
        tokens = first
        for number, block in enumerate(blocks):
            record = record_block(block, tokens, None if added is None else added[number], shared_bias=bias)
            tokens = record.output
            if seen is not None:
                seen.append(record.weights)
        return compute_logits(model, tokens)

    weights: list[Tensor] = []
    values = ops.convert_to_numpy(logits(None, weights))
    targets = values.argmax(1) if classes is None else classes
    mask = np.eye(values.shape[1], dtype="float32")[targets]
    shape = (len(images), config.num_heads, config.num_tokens, config.num_tokens)
    zeros = [np.zeros(shape, "float32") for _ in blocks]
    slopes = compute_gradients(lambda added: ops.sum(logits(added) * ops.convert_to_tensor(mask)), zeros)
    return np.stack([ops.convert_to_numpy(each) for each in weights]), np.stack(slopes)


def _check_classes(model: keras.Model, classes: Sequence[int] | int | None, count: int) -> np.ndarray | None:
    known = model_num_classes(model)
    if known is None:
        raise InvalidArgumentError(
            f"The model {model.name!r} has no head, so it has no classes to explain; make it with num_classes."
        )
    if classes is None:
        return None
    wanted = np.broadcast_to(np.asarray(classes), (count,)) if np.ndim(classes) == 0 else np.asarray(classes)
    if wanted.shape != (count,) or wanted.dtype.kind not in "ui" or wanted.min() < 0 or wanted.max() >= known:
        raise InvalidArgumentError(
            f"classes={classes!r}: expected one of the classes 0 to {known - 1}, or one for each of {count} images."
        )
    return wanted
