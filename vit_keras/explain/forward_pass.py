"""`anatomy`: every step of one forward pass, from pixels to classes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.config import ViTConfig
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.explain.block_record import BlockRecord, compute_shared_bias, record_block
from vit_keras.explain.inputs import check_images
from vit_keras.explain.logits import compute_logits, compute_pooling_attention
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.architecture import HEADS, IMAGES
from vit_keras.models.wiring import read_model


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """All steps of one image's forward pass as float32 arrays without a batch axis; `block` returns those inside a block.

    Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1. Every step is the output of the model's own layer, or recomputed from its
    weights if the layer does not return it.
    """

    model: keras.Model
    config: ViTConfig
    image: np.ndarray  # `(height, width, channels)`, pixels 0..255
    patches: np.ndarray  # `(patches, patch_dim)`, normalized and flattened; the output of a convolutional stem
    projected: np.ndarray  # `(patches, hidden_dim)`
    prefix: np.ndarray  # `(prefix tokens, hidden_dim)`: class token, distillation token, registers, if there are any
    positions: np.ndarray | None  # `(tokens, hidden_dim)`, zero for tokens without one; None if the model adds none
    embedded: np.ndarray  # `(tokens, hidden_dim)`, with positions; equation 1
    tokens: np.ndarray  # `(layers + 1, tokens, hidden_dim)`, the input of each block and the output of the last
    normalized: np.ndarray  # `(tokens, hidden_dim)`, the input of the pooling
    pooled: np.ndarray  # `(width,)`, the output of the pooling
    features: np.ndarray  # `(width,)`, the input of the head
    pooling_weights: np.ndarray | None  # `(heads, tokens)`, of attention pooling; None for other poolings
    head_logits: np.ndarray | None  # `(heads, classes)`, two rows for a distilled model; None without a head
    logits: np.ndarray | None  # `(classes,)`, before any softmax; None without a head
    depth_logits: np.ndarray | None  # `(layers, classes)`, the head's for the output of each block; None without a head
    output: np.ndarray
    class_names: tuple[str, ...]  # empty if unknown

    def block(self, index: int) -> BlockRecord:
        """Returns every step of a block as arrays without a batch axis; computed at each call, since all blocks would be large."""
        parts = read_model(self.model)
        tokens = ops.convert_to_tensor(self.tokens[index][None])
        record = record_block(parts.blocks[index], tokens, shared_bias=compute_shared_bias(parts))
        return BlockRecord(**{field.name: _to_numpy(getattr(record, field.name))[0] for field in fields(BlockRecord)})


def anatomy(model: keras.Model, image: Any, *, class_names: Sequence[str] = ()) -> Anatomy:
    """Runs one image through a model and returns every step.

    Args:
        model: A vit_keras model.
        image: `(height, width, channels)`, pixels 0..255.
        class_names: Names of the classes.

    Raises:
        DataError: The image does not fit the model, or there are several.
        InvalidArgumentError: It is not a vit_keras model, or has another number of classes.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> passed = anatomy(vit(config, num_classes=3), np.zeros((16, 16, 3)))
        >>> passed.patches.shape, passed.embedded.shape, passed.block(0).weights.shape, passed.logits.shape
        ((4, 192), (5, 16), (2, 5, 5), (3,))
    """
    parts, images = read_model(model), check_images(model, image)
    config, num_classes = parts.config, parts.num_classes
    if len(images) != 1:
        raise DataError(f"anatomy takes one image, not {len(images)}.")
    if class_names and len(class_names) != num_classes:
        raise InvalidArgumentError(
            f"class_names: got {len(class_names)} names for the {num_classes or 'no'} classes of the model {model.name!r}."
        )
    layers, pixels = parts.layers, images.astype("float32")
    inside = keras.Model(parts.tensors[IMAGES], {name: parts.tensors[name] for name in layers})
    found = inside(pixels, training=False)
    encoder = layers["patch_encoder"]
    patches = found["patches" if config.stem == "patch" else "conv_stem"]
    entered = found["stem_norm" if config.stem_norm else "patch_encoder"]
    outputs = [found[block.name] for block in parts.blocks]
    normalized = found["final_norm"] if config.final_norm == "before" else outputs[-1]
    after_pooling = "final_norm" if config.final_norm == "after" else "pooling"
    before_head = after_pooling if config.pre_logits_dim is None else "pre_logits"
    empty = np.zeros((1, 0, config.hidden_dim))
    prefix = _to_numpy(ops.concatenate(encoder.prefix, axis=1) if encoder.prefix else empty)[0]
    head_logits = logits = depth_logits = None
    if num_classes is not None:
        depth_logits = np.concatenate([_to_numpy(compute_logits(model, tokens)) for tokens in outputs])
        logits = depth_logits[-1]
        heads = [name for name in HEADS if name in layers and not parts.own_head]
        # A single head may end in a softmax, so its own output may not be logits.
        head_logits = np.concatenate([_to_numpy(found[name]) for name in heads]) if len(heads) > 1 else logits[None]
    return Anatomy(
        model=model,
        config=config,
        image=images[0].astype("float32"),
        patches=_to_numpy(patches)[0],
        projected=_to_numpy(encoder.project(patches))[0],
        prefix=prefix,
        positions=_pad_positions(config, encoder),
        embedded=_to_numpy(found["patch_encoder"])[0],
        tokens=np.concatenate([_to_numpy(tokens) for tokens in (entered, *outputs)]),
        normalized=_to_numpy(normalized)[0],
        pooled=_to_numpy(found["pooling"])[0],
        features=_to_numpy(found[before_head])[0],
        pooling_weights=_to_numpy(compute_pooling_attention(model, normalized))[0] if config.pooling == "map" else None,
        head_logits=head_logits,
        logits=logits,
        depth_logits=depth_logits,
        output=_to_numpy(model(pixels, training=False))[0],
        class_names=tuple(class_names),
    )


def _pad_positions(config: ViTConfig, encoder: keras.layers.Layer) -> np.ndarray | None:
    """Returns a position embedding per token, zeros for prefix tokens that have none."""
    if config.position_embedding == "none":
        return None
    positions = ops.convert_to_numpy(encoder.positions).astype("float32")[0]
    return np.pad(positions, ((config.num_tokens - len(positions), 0), (0, 0)))


def _to_numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = ops.convert_to_numpy(ops.cast(tensor, "float32"))
    return array
