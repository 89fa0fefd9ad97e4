"""Turns patches into tokens: projection, prefix tokens, positions."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_fractions, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer


@keras.saving.register_keras_serializable(package="vit_keras")
class PatchEncoder(CompositeLayer):
    """Projects patches to tokens, prepends the class token, adds positions.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, equation 1. Our `projection` is their E,
    `position_embedding` their E_pos, `class_token` their x_class. Distillation token: Touvron et al. 2021, arXiv 2012.12877.
    Registers: Darcet et al. 2024, arXiv 2309.16588. Fixed "sincos2d" positions, of patch tokens only: Beyer et al. 2022,
    arXiv 2205.01580.

    Args:
        hidden_dim: Width of a token.
        use_bias: Adds a bias in the projection.
        class_token: Prepends a learned class token.
        distillation_token: Adds a distillation token after the class token.
        num_registers: Register tokens after those.
        position_embedding: "learned", "sincos2d" or "none".
        position_on_prefix: Whether prefix tokens have learned positions too.
        position_resize: How loading resizes learned positions to another grid (`vit_keras.weights.adapt.resize`).
        patch_resize: How loading resizes the projection to another patch size.
        grid_size: Rows and columns of patches for "sincos2d"; a square by default.
        dropout_rate: Fraction of the embeddings dropped in training.

    Shapes:
        patches: `(batch, patches, patch_dim)`, any float dtype.
        returns: `(batch, tokens, hidden_dim)` in the compute dtype; `tokens = prefix + patches`.

    Raises:
        InvalidArgumentError: An argument is out of its range, "sincos2d" gets a width not divisible by 4, or the patches
            don't fill the grid.

    Example:
        >>> PatchEncoder(64)(keras.Input((196, 768))).shape
        (None, 197, 64)
    """

    def __init__(
        self,
        hidden_dim: int,
        *,
        use_bias: bool = True,
        class_token: bool = True,
        distillation_token: bool = False,
        num_registers: int = 0,
        position_embedding: str = "learned",
        position_on_prefix: bool = True,
        position_resize: str = "bicubic_antialias",
        patch_resize: str = "bicubic_antialias",
        grid_size: tuple[int, int] | None = None,
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, hidden_dim=hidden_dim)
        positions = ("learned", "sincos2d", "none")
        check_choice(type(self).__name__, choices=positions, position_embedding=position_embedding)
        check_fractions(type(self).__name__, dropout_rate=dropout_rate)
        if position_embedding == "sincos2d" and hidden_dim % 4:
            raise InvalidArgumentError(
                f'position_embedding="sincos2d" needs a hidden_dim divisible by 4, not {hidden_dim}.'
            )
        self.hidden_dim = hidden_dim
        self.use_bias = use_bias
        self.class_token = class_token
        self.distillation_token = distillation_token
        self.num_registers = num_registers
        self.position_embedding = position_embedding
        self.position_on_prefix = position_on_prefix
        self.position_resize = position_resize
        self.patch_resize = patch_resize
        self.grid_size = tuple(grid_size) if grid_size is not None else None
        self.dropout_rate = dropout_rate
        self.projection = keras.layers.Dense(
            hidden_dim, use_bias=use_bias, kernel_initializer="lecun_normal", dtype=self.dtype_policy, name="projection"
        )
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy, name="dropout")

    def build_parts(self, input_shape: Shape) -> None:
        """Creates the projection, the prefix tokens and the positions."""
        patches, _ = check_tokens(type(self).__name__, input_shape)
        self.projection.build(input_shape)
        self.prefix = [
            self.add_weight(
                shape=(1, count, self.hidden_dim),
                initializer="zeros" if name == "class_token" else keras.initializers.RandomNormal(stddev=0.02),
                name=name,
            )
            for name, count in self._prefix_counts().items()
            if count
        ]
        if self.position_embedding == "learned":
            shape = (1, patches + (self.num_prefix_tokens if self.position_on_prefix else 0), self.hidden_dim)
            normal = keras.initializers.RandomNormal(stddev=0.02)
            self.positions = self.add_weight(shape=shape, initializer=normal, name="position_embedding")
        elif self.position_embedding == "sincos2d":
            self.positions = self._fixed_positions(patches)

    @property
    def num_prefix_tokens(self) -> int:
        """Number of class, distillation and register tokens."""
        return sum(self._prefix_counts().values())

    def _prefix_counts(self) -> dict[str, int]:
        return {
            "class_token": int(self.class_token),
            "distillation_token": int(self.distillation_token),
            "registers": self.num_registers,
        }

    def _fixed_positions(self, patches: int) -> np.ndarray:
        side = math.isqrt(patches)
        rows, columns = self.grid_size or (side, side)
        if rows * columns != patches:
            raise InvalidArgumentError(
                f"{patches} patches don't fill a grid of {rows} rows and {columns} columns; give grid_size."
            )
        return sincos2d(rows, columns, self.hidden_dim)[None]

    def call(self, patches: Tensor, training: bool | None = None) -> Tensor:
        """Computes the paper's equation 1."""
        tokens = self.projection(patches)
        prefix = [ops.cast(weight, tokens.dtype) for weight in self.prefix]
        if self.position_embedding != "none":
            positions = ops.cast(self.positions, tokens.dtype)
            on_prefix = positions.shape[1] - tokens.shape[1]
            tokens = tokens + positions[:, on_prefix:]
            if on_prefix:
                prefix = [ops.concatenate(prefix, axis=1) + positions[:, :on_prefix]]
        if prefix:
            batch = ops.shape(tokens)[0]
            front = [ops.broadcast_to(part, (batch, *part.shape[1:])) for part in prefix]
            tokens = ops.concatenate([*front, tokens], axis=1)
        return self.dropout(tokens, training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, tokens, hidden_dim)`."""
        batch, patches, _ = input_shape
        return (batch, patches + self.num_prefix_tokens, self.hidden_dim)  # type: ignore[operator]


def sincos2d(rows: int, columns: int, hidden_dim: int) -> np.ndarray:
    """Returns fixed positions `(rows * columns, hidden_dim)`: sine and cosine of x, then of y (Beyer et al. 2022, arXiv 2205.01580)."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype("float64")
    steps = np.arange(hidden_dim // 4) / max(hidden_dim // 4 - 1, 1)
    frequencies = 1.0 / 10_000**steps
    x, y = x[:, None] * frequencies, y[:, None] * frequencies
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1).astype("float32")
