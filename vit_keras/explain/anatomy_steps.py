"""One forward pass, taken apart: every step from pixels to classes, in the order of the paper."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.config import ViTConfig
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.explain.recording import (
    BlockRecord,
    blocks_of,
    checked_images,
    pooled_logits,
    pooling_attention,
    record_block,
)
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.architecture import HEADS, IMAGES
from vit_keras.models.wiring import read_model


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """The steps of one image's forward pass as float32 arrays, without a batch; `block` has those inside of a block.

    Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1. Every step is the model's own layer's output; what a layer doesn't give away
    is computed beside it from its weights.

    Args:
        model: Whose pass it is.
        config: The model's.
        image: `(height, width, channels)`, pixels 0..255.
        patches: `(patches, patch_dim)`, normalised and flattened; of a stem of convolutions what comes out of it.
        projected: `(patches, hidden_dim)`.
        prefix: `(prefix tokens, hidden_dim)`, learned: class token, distillation token, registers, as far as there are any.
        positions: `(tokens, hidden_dim)`, zero where a token has none; None where the model adds none.
        embedded: `(tokens, hidden_dim)`, with positions; equation 1.
        tokens: `(layers + 1, tokens, hidden_dim)`, what goes into each block, and what comes out of the last.
        normalised: `(tokens, hidden_dim)`, as they go into the pooling.
        pooled: `(width,)`, out of the pooling.
        features: `(width,)`, what the head sees.
        pooling_weights: `(heads, tokens)`, what attention pooling looks at; None for another pooling.
        head_logits: `(heads, classes)`, of each classifier, two of a distilled model; None for a model without.
        logits: `(classes,)`, before any softmax; None for a model without a head.
        depth_logits: `(layers, classes)`, what the head would say of what comes out of each block; None likewise.
        output: What the model returns.
        class_names: What its classes are called; none where that is not known.
    """

    model: keras.Model
    config: ViTConfig
    image: np.ndarray
    patches: np.ndarray
    projected: np.ndarray
    prefix: np.ndarray
    positions: np.ndarray | None
    embedded: np.ndarray
    tokens: np.ndarray
    normalised: np.ndarray
    pooled: np.ndarray
    features: np.ndarray
    pooling_weights: np.ndarray | None
    head_logits: np.ndarray | None
    logits: np.ndarray | None
    depth_logits: np.ndarray | None
    output: np.ndarray
    class_names: tuple[str, ...]

    def block(self, number: int) -> BlockRecord:
        """Returns every step of a block as arrays without a batch; computed when asked for, since all at once are large.

        Args:
            number: Of the block, from 0.
        """
        record = record_block(blocks_of(self.model)[number], ops.convert_to_tensor(self.tokens[number][None]))
        return BlockRecord(**{field.name: _array(getattr(record, field.name))[0] for field in fields(BlockRecord)})


def anatomy(model: keras.Model, image: Any, *, class_names: Sequence[str] = ()) -> Anatomy:
    """Returns one image's forward pass, step by step.

    Args:
        model: A model that `vit` or `from_preset` made.
        image: `(height, width, channels)`, pixels 0..255.
        class_names: What the classes are called.

    Raises:
        DataError: It is no image of the model's size, or several.
        InvalidArgumentError: The model is none of ours, or has another number of classes.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> passed = anatomy(vit(config, num_classes=3), np.zeros((16, 16, 3)))
        >>> passed.patches.shape, passed.embedded.shape, passed.block(0).weights.shape, passed.logits.shape
        ((4, 192), (5, 16), (2, 5, 5), (3,))
    """
    parts, images = read_model(model), checked_images(model, image)
    config, num_classes = parts.config, parts.num_classes
    if len(images) != 1:
        raise DataError(f"One image is taken apart at a time, not {len(images)}.")
    if class_names and len(class_names) != num_classes:
        raise InvalidArgumentError(
            f"There are {len(class_names)} class names for {num_classes or 'no'} classes of the model {model.name!r}."
        )
    layers, pixels = parts.layers, images.astype("float32")
    inside = keras.Model(parts.tensors[IMAGES], {name: parts.tensors[name] for name in layers})
    found = inside(pixels, training=False)
    encoder, blocks = layers["patch_encoder"], blocks_of(model)
    patches = found["patches" if config.stem == "patch" else "conv_stem"]
    entered = found["stem_norm" if config.stem_norm else "patch_encoder"]
    outputs = [found[block.name] for block in blocks]
    normalised = found["final_norm"] if config.final_norm == "before" else outputs[-1]
    heads = [name for name in HEADS if name in layers and not parts.own_head]
    logits = pooled_logits(model, outputs[-1]) if num_classes is not None else None
    return Anatomy(
        model=model,
        config=config,
        image=images[0].astype("float32"),
        patches=_array(patches)[0],
        projected=_array(encoder.projection(patches))[0],
        prefix=_array(ops.concatenate(encoder.prefix, axis=1))[0]
        if encoder.prefix
        else np.zeros((0, config.hidden_dim), "float32"),
        positions=_positions(config, encoder),
        embedded=_array(found["patch_encoder"])[0],
        tokens=np.concatenate([_array(tokens) for tokens in (entered, *outputs)]),
        normalised=_array(normalised)[0],
        pooled=_array(found["pooling"])[0],
        features=_array(found[_last_before_head(config)])[0],
        pooling_weights=_array(pooling_attention(model, normalised))[0] if config.pooling == "map" else None,
        # A lone head may end in a softmax, and then gives no logits itself.
        head_logits=None
        if logits is None
        else np.concatenate([_array(found[name]) for name in heads])
        if len(heads) > 1
        else _array(logits),
        logits=None if logits is None else _array(logits)[0],
        depth_logits=np.concatenate([_array(pooled_logits(model, tokens)) for tokens in outputs])
        if logits is not None
        else None,
        output=_array(model(pixels, training=False))[0],
        class_names=tuple(class_names),
    )


def _last_before_head(config: ViTConfig) -> str:
    if config.pre_logits_dim is not None:
        return "pre_logits"
    return "final_norm" if config.final_norm == "after" else "pooling"


def _positions(config: ViTConfig, encoder: keras.layers.Layer) -> np.ndarray | None:
    """Returns a position vector for each token, zeros in front where the tokens there have none."""
    if config.position_embedding == "none":
        return None
    positions = ops.convert_to_numpy(encoder.positions).astype("float32")[0]
    return np.pad(positions, ((config.num_tokens - len(positions), 0), (0, 0)))


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = ops.convert_to_numpy(ops.cast(tensor, "float32"))
    return array
