"""One image's attention and rollout after each block, for a page that lets its reader choose the block."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import DataError
from vit_keras.explain.block_record import compute_shared_bias, compute_weights, embedding_model
from vit_keras.explain.inputs import check_images
from vit_keras.explain.logits import compute_pooling_attention, normalize_for_pooling
from vit_keras.explain.rollout import compute_pooling_weights
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.reliable_loops import ReliableLoops
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model

_QUERIES = {
    "token": "class token",
    "mean": "average patch",
    "token_and_mean": "class token and average patch",
    "map": "pooled patches",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockMaps:
    """Where a model attends to in one image, per block; heads are averaged.

    Args:
        query: Whose attention it is: the tokens that the model pools.
        attention: `(layers, rows, columns)`, float32: attention of these tokens to the patches in each block.
        rollout: `(layers, rows, columns)`, float32: what each patch contributes to these tokens through the blocks up to each.
    """

    query: str
    attention: np.ndarray
    rollout: np.ndarray


class BlockMapper:
    """Computes the attention and the rollout of one image after each block, in one compiled program.

    The first call compiles it. The last rollout is that of `attention_rollout`. Attention pooling is that of the last block in all maps.

    Args:
        model: A vit_keras model.

    Raises:
        InvalidArgumentError: It is not a vit_keras model, or has no attention weights to show.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=(16, 24), patch_size=8, hidden_dim=16, num_layers=3, num_heads=2, mlp_dim=32)
        >>> maps = BlockMapper(vit(config))(np.zeros((16, 24, 3)))
        >>> maps.query, maps.attention.shape, maps.rollout.shape
        ('class token', (3, 2, 3), (3, 2, 3))
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, self._config = model, model_config(model)
        self._maps = _TokenMaps(model)

    def __call__(self, image: Any) -> BlockMaps:
        """Returns the maps of one image, `(height, width, channels)`, pixels 0..255.

        Raises:
            DataError: The image does not fit the model, or there are several.
        """
        images, config = check_images(self._model, image), self._config
        if len(images) != 1:
            raise DataError(f"The maps of blocks are those of one image, not {len(images)}.")
        found = {
            name: np.asarray(rows)[0, :, config.num_prefix_tokens :].reshape(-1, *config.grid_size)
            for name, rows in self._maps.predict_on_batch(images).items()
        }
        query = "class and distillation token" if config.has_two_heads else _QUERIES[config.pooling]
        return BlockMaps(query=query, attention=found["attention"], rollout=found["rollout"])


class _TokenMaps(ReliableLoops, keras.Model):
    """Maps images to what the pooled tokens see of all tokens in each block, float32.

    Args:
        model: A vit_keras model, whose weights it has.

    Shapes:
        images: `(batch, height, width, channels)`, pixels 0..255.
        returns: "attention" and "rollout", each `(batch, layers, tokens)`.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="token_maps")
        self._explained, self._parts = model, read_model(model)
        self._embed = embedding_model(self._parts)

    def call(self, images: Tensor) -> dict[str, Tensor]:
        """Runs all blocks, the last one only for attention pooling."""
        parts = self._parts
        bias, tokens = compute_shared_bias(parts), self._embed(images, training=False)
        has_pooling = parts.config.pooling == "map"
        layers = []
        for index, block in enumerate(parts.blocks):
            layers.append(ops.mean(compute_weights(block, tokens, shared_bias=bias), axis=1))
            if has_pooling or index < len(parts.blocks) - 1:
                tokens = block(tokens, attention_bias=bias, training=False)
        pooled = (self._pool(tokens) if has_pooling else ops.tile(self._pooled_row(), (ops.shape(images)[0], 1)))[
            :, None
        ]
        # A row of a product of matrices is a row times one after the other, from the last block: that of block k starts there.
        rollout = pooled[:, :0]
        for layer in reversed(layers):
            mixed = layer + ops.eye(layer.shape[-1])
            mixed = mixed / ops.sum(mixed, axis=-1, keepdims=True)
            rollout = ops.matmul(ops.concatenate([pooled, rollout], axis=1), mixed)
        return {
            "attention": ops.concatenate([ops.matmul(pooled, layer) for layer in layers], axis=1),
            "rollout": rollout,
        }

    def _pool(self, tokens: Tensor) -> Tensor:
        weights = compute_pooling_attention(self._explained, normalize_for_pooling(self._explained, tokens))
        return ops.mean(ops.cast(weights, "float32"), axis=1)

    def _pooled_row(self) -> Tensor:
        config = self._parts.config
        row = compute_pooling_weights(self._explained, config, np.zeros((1, *config.image_shape), "uint8"))
        return ops.convert_to_tensor(row, "float32")
