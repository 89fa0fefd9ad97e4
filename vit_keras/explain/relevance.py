"""What of the image speaks for a class: attention weighted by its gradient."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.gradients import gradients
from vit_keras.explain.recording import block_inputs, blocks_of, checked_images, pieces, pooled_logits, record_block
from vit_keras.explain.rollout import multiplied, seen_patches
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.vit import model_config, model_num_classes


def class_relevance(
    model: keras.Model, images: Any, *, classes: Sequence[int] | int | None = None, batch_size: int = 8
) -> np.ndarray:
    """Returns how much each patch speaks for a class.

    Paper: Chefer et al. 2021, arXiv 2103.15679, section 3.1 with equations 5 and 6: in each block the heads' mean of attention times
    its gradient, what is negative left out, is added to what was gathered before.

    Args:
        model: A model that `vit` or `from_preset` made, with a head.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        classes: A class, or one an image; None for the likeliest of each.
        batch_size: Images at once.

    Shapes:
        returns: `(batch, rows, columns)` of patches, float32; no number is negative.

    Raises:
        DataError: The images are none of the model's.
        InvalidArgumentError: The model is none of ours or has no head, or there is no such class.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> class_relevance(vit(config, num_classes=3), np.zeros((1, 16, 16, 3)), classes=2).shape
        (1, 2, 2)
    """
    parts = []
    for piece, weighted in _weighted(model, images, classes, batch_size):
        relevance = np.broadcast_to(np.eye(weighted.shape[-1], dtype="float32"), weighted.shape[1:])
        for layer in weighted:
            relevance = relevance + layer @ relevance
        parts.append(seen_patches(model, piece, relevance - np.eye(weighted.shape[-1], dtype="float32")))
    return np.concatenate(parts)


def gradient_rollout(
    model: keras.Model, images: Any, *, classes: Sequence[int] | int | None = None, batch_size: int = 8
) -> np.ndarray:
    """Returns a rollout in which heads count by how much they speak for a class.

    As `attention_rollout`, of the heads' mean of attention times its gradient, what is negative left out (the fusion of Chefer et al.
    2021, arXiv 2012.09838, in the product of Abnar and Zuidema 2020, arXiv 2005.00928).

    Args:
        model: A model that `vit` or `from_preset` made, with a head.
        images: `(batch, height, width, channels)`, pixels 0..255, or one image.
        classes: A class, or one an image; None for the likeliest of each.
        batch_size: Images at once.

    Shapes:
        returns: `(batch, rows, columns)` of patches, float32; no number is negative.

    Raises:
        DataError: The images are none of the model's.
        InvalidArgumentError: The model is none of ours or has no head, or there is no such class.
    """
    weighted = _weighted(model, images, classes, batch_size)
    return np.concatenate([seen_patches(model, piece, multiplied(layers)) for piece, layers in weighted])


def _weighted(
    model: keras.Model, images: Any, classes: Sequence[int] | int | None, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields a few images at a time with the heads' mean of relu(gradient x attention), `(layers, batch, tokens, tokens)`."""
    images = checked_images(model, images)
    wanted = _checked_classes(model, classes, len(images))
    done = 0
    for piece in pieces(images, batch_size):
        chosen = None if wanted is None else wanted[done : done + len(piece)]
        yield piece, _attention_times_gradient(model, piece, chosen)
        done += len(piece)


def _attention_times_gradient(model: keras.Model, images: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    weights, slopes = attention_gradients(model, images, classes)
    weighted: np.ndarray = np.maximum(slopes * weights, 0).mean(2)
    return weighted


def attention_gradients(
    model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns all attention weights, and the gradient of a class's logit by each.

    Args:
        model: A model that `vit` or `from_preset` made, with a head.
        images: `(batch, height, width, channels)`, pixels 0..255.
        classes: `(batch,)`; None for the likeliest of each.

    Shapes:
        returns: Both `(layers, batch, heads, tokens, tokens)`.
    """
    blocks, config = blocks_of(model), model_config(model)
    first = block_inputs(model, images, [0])[0]

    def logits(added: list[Tensor] | None, seen: list[Tensor] | None = None) -> Tensor:
        tokens = first
        for number, block in enumerate(blocks):
            record = record_block(block, tokens, None if added is None else added[number])
            tokens = record.output
            if seen is not None:
                seen.append(record.weights)
        return pooled_logits(model, tokens)

    weights: list[Tensor] = []
    values = ops.convert_to_numpy(logits(None, weights))
    targets = values.argmax(1) if classes is None else classes
    mask = np.eye(values.shape[1], dtype="float32")[targets]
    shape = (len(images), config.num_heads, config.num_tokens, config.num_tokens)
    slopes = gradients(
        lambda added: ops.sum(logits(added) * ops.convert_to_tensor(mask)), [np.zeros(shape, "float32") for _ in blocks]
    )
    return np.stack([ops.convert_to_numpy(each) for each in weights]), np.stack(slopes)


def _checked_classes(model: keras.Model, classes: Sequence[int] | int | None, count: int) -> np.ndarray | None:
    blocks_of(model)
    known = model_num_classes(model)
    if known is None:
        raise InvalidArgumentError(
            f"The model {model.name!r} has no head, so nothing speaks for a class; make it with num_classes."
        )
    if classes is None:
        return None
    wanted = np.broadcast_to(np.asarray(classes), (count,)) if np.ndim(classes) == 0 else np.asarray(classes)
    if wanted.shape != (count,) or wanted.dtype.kind not in "ui" or wanted.min() < 0 or wanted.max() >= known:
        raise InvalidArgumentError(
            f"classes={classes!r}: expected one of the classes 0 to {known - 1}, or a list of one for each of {count} images."
        )
    return wanted
