"""Turns patches into tokens: projection, prefix tokens, positions."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import (
    Shape,
    Tensor,
    check_choice,
    check_fractions,
    check_grid,
    check_positive,
    check_tokens,
)
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.base.grids import Count, count_tokens, flatten_grid, resize_grid, resize_to_packed
from vit_keras.layers.layer_norm import NORMS

SINCOS = ("sincos2d", "sincos2d_mae")
"""Kinds of fixed positions, which differ in their frequencies."""


@keras.saving.register_keras_serializable(package="vit_keras")
class PatchEncoder(CompositeLayer):
    """Projects patches to tokens, prepends the class token, adds positions.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, equation 1. Our `projection` is their E,
    `position_embedding` their E_pos, `class_token` their x_class. Distillation token: Touvron et al. 2021, arXiv 2012.12877.
    Registers: Darcet et al. 2024, arXiv 2309.16588. Fixed "sincos2d" positions, of patch tokens only: Beyer et al. 2022,
    arXiv 2205.01580; "sincos2d_mae": He et al. 2021, arXiv 2111.06377, whose lowest frequency is higher.

    Args:
        hidden_dim: Width of a token.
        use_bias: Adds a bias in the projection.
        patch_norm: Kind of the norm of the projected patches, before positions are added: "layer", "rms" or None.
        norm_epsilon: Added to the variance in that norm.
        class_token: Prepends a learned class token.
        distillation_token: Adds a distillation token after the class token.
        num_registers: Register tokens after those.
        position_embedding: "learned", "sincos2d", "sincos2d_mae" or "none".
        position_on_prefix: Whether prefix tokens have learned positions too.
        position_resize: How learned positions are resized to another grid (`vit_keras.weights.adapt.resize`): in loading, and in the
            layer for a grid of patches.
        patch_resize: How loading resizes the projection to another patch size.
        grid_size: Rows and columns of patches; a square by default. Of learned positions for grids of another size, these are the
            positions' own.
        dropout_rate: Fraction of the embeddings dropped in training.

    Shapes:
        patches: `(batch, patches, patch_dim)`, any float dtype; or a grid of any size, `(batch, rows, columns, patch_dim)`, for which
            positions are resized.
        patch_indices: `(batch, tokens, 2)`, as `PackedIndices` returns them, for patches of packed images: positions are resized for
            each image.
        visible: `(batch, patches)`, indices on the grid, where only some patches of each image are given, as in masked autoencoders.
        returns: `(batch, tokens, hidden_dim)` in the compute dtype; `tokens = prefix + patches`.

    Raises:
        InvalidArgumentError: An argument is out of its range, fixed positions get a width not divisible by 4, or the patches
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
        patch_norm: str | None = None,
        norm_epsilon: float = 1e-6,
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
        positions = ("learned", *SINCOS, "none")
        check_choice(type(self).__name__, choices=positions, position_embedding=position_embedding)
        check_choice(type(self).__name__, choices=(*NORMS, None), patch_norm=patch_norm)
        check_fractions(type(self).__name__, dropout_rate=dropout_rate)
        if position_embedding in SINCOS and hidden_dim % 4:
            raise InvalidArgumentError(
                f'position_embedding="{position_embedding}" needs a hidden_dim divisible by 4, not {hidden_dim}.'
            )
        self.hidden_dim = hidden_dim
        self.use_bias = use_bias
        self.patch_norm = patch_norm
        self.norm_epsilon = norm_epsilon
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
        if patch_norm is not None:
            self.normalize = NORMS[patch_norm](epsilon=norm_epsilon, dtype=self.dtype_policy, name="norm")
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy, name="dropout")

    def build(self, patches_shape: Shape, patch_indices_shape: Shape | None = None) -> None:
        """Builds the parts for patches of one grid, or, with `patch_indices`, for those of packed images."""
        self.is_packed = patch_indices_shape is not None
        super().build(patches_shape)

    def build_parts(self, input_shape: Shape) -> None:
        """Creates the projection, the prefix tokens and the positions."""
        patches = self._count_positions(input_shape)
        self.projection.build(input_shape)
        if self.patch_norm is not None:
            self.normalize.build((None, None, self.hidden_dim))
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
            # Cast after they are resized, not before.
            self.positions = self.add_weight(shape=shape, initializer=normal, autocast=False, name="position_embedding")
        elif self.position_embedding in SINCOS:
            self.positions = self._fixed_positions(patches)

    def _count_positions(self, input_shape: Shape) -> int:
        """Returns the number of patches that the positions are for."""
        layer = type(self).__name__
        if self.is_packed:
            check_tokens(layer, input_shape)
            if self.grid_size is None:
                raise InvalidArgumentError(f"{layer} needs grid_size, of its positions, for patches of packed images.")
            return math.prod(self.grid_size)
        if len(input_shape) == 4:
            check_grid(layer, input_shape)
            if self.grid_size is not None:
                return math.prod(self.grid_size)
            patches = count_tokens(input_shape, 0)
        else:
            patches, _ = check_tokens(layer, input_shape)
        if patches is None:
            raise InvalidArgumentError(
                f"{layer} got patches of shape {input_shape}. For a number that is known only when images arrive, it needs a grid of "
                "shape (batch, rows, columns, patch_dim), and grid_size, the rows and columns of its positions."
            )
        return patches

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
        rows, columns = self._grid_of(patches)
        if rows * columns != patches:
            raise InvalidArgumentError(
                f"{patches} patches don't fill a grid of {rows} rows and {columns} columns; give grid_size."
            )
        return sincos2d(rows, columns, self.hidden_dim, kind=self.position_embedding)[None]

    def _grid_of(self, patches: int) -> tuple[int, int]:
        side = math.isqrt(patches)
        rows, columns = self.grid_size or (side, side)
        return rows, columns

    def project(self, patches: Tensor, training: bool | None = None) -> Tensor:
        """Returns the projected patches, normalized where the layer has a norm."""
        tokens = self.projection(patches)
        return self.normalize(tokens, training=training) if self.patch_norm is not None else tokens

    def call(
        self,
        patches: Tensor,
        patch_indices: Tensor | None = None,
        visible: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Computes the paper's equation 1."""
        after = tuple(ops.shape(patches)[1:3]) if len(patches.shape) == 4 else None
        tokens = self.project(flatten_grid(patches) if after else patches, training)
        prefix = [ops.cast(weight, tokens.dtype) for weight in self.prefix]
        if self.position_embedding != "none":
            of_packed = None if patch_indices is None else patch_indices[:, self.num_prefix_tokens :]
            on_prefix, of_patches = self._split_positions(after, of_packed)
            if visible is not None:
                of_patches = ops.take(of_patches[0], visible, axis=0)  # (batch, patches, hidden_dim)
            tokens = tokens + ops.cast(of_patches, tokens.dtype)
            if on_prefix is not None:
                prefix = [ops.concatenate(prefix, axis=1) + ops.cast(on_prefix, tokens.dtype)]
        if prefix:
            batch = ops.shape(tokens)[0]
            front = [ops.broadcast_to(part, (batch, *part.shape[1:])) for part in prefix]
            tokens = ops.concatenate([*front, tokens], axis=1)
        return self.dropout(tokens, training=training)

    def _split_positions(
        self, after: tuple[Count, Count] | None, of_packed: Tensor | None
    ) -> tuple[Tensor | None, Tensor]:
        """Returns the positions of prefix tokens, None without any, and those of patches, for a grid of this size or packed images."""
        if self.position_embedding in SINCOS:
            frequencies = sincos_frequencies(self.hidden_dim, kind=self.position_embedding)
            if of_packed is not None:
                return None, _sincos2d_at(of_packed, frequencies)
            return None, self.positions if after is None else _sincos2d_of_any_grid(*after, frequencies)
        positions = ops.convert_to_tensor(self.positions)
        on_prefix = self.num_prefix_tokens if self.position_on_prefix else 0
        of_patches = positions[:, on_prefix:]
        if after is not None:
            before = self._grid_of(positions.shape[1] - on_prefix)
            of_patches = resize_grid(of_patches, before=before, after=after, rule=self.position_resize)
        if of_packed is not None:
            before = self._grid_of(positions.shape[1] - on_prefix)
            of_patches = resize_to_packed(of_patches, of_packed, before=before, rule=self.position_resize)
        return positions[:, :on_prefix] if on_prefix else None, of_patches

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, tokens, hidden_dim)`."""
        return (input_shape[0], count_tokens(input_shape, self.num_prefix_tokens), self.hidden_dim)


def sincos2d(rows: int, columns: int, hidden_dim: int, *, kind: str = "sincos2d") -> np.ndarray:
    """Returns fixed positions `(rows * columns, hidden_dim)`: sine and cosine of x, then of y; `kind` is one of `SINCOS`."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype("float64")
    frequencies = sincos_frequencies(hidden_dim, kind=kind)
    x, y = x[:, None] * frequencies, y[:, None] * frequencies
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1).astype("float32")


def sincos_frequencies(hidden_dim: int, *, kind: str) -> np.ndarray:
    """Returns the frequencies of `sincos2d`, `(hidden_dim / 4,)`, from 1 to 1/10,000, which "sincos2d_mae" leaves out."""
    count = hidden_dim // 4
    steps = np.arange(count) / (count if kind == "sincos2d_mae" else max(count - 1, 1))
    return np.asarray(1.0 / 10_000**steps)


def _sincos2d_of_any_grid(rows: Count, columns: Count, frequencies: np.ndarray) -> Tensor:
    """Returns what `sincos2d` does, with a batch of one, in float32, for a grid that TensorFlow knows only when images arrive."""
    waves = ops.convert_to_tensor(frequencies, "float32")
    y, x = (ops.arange(count, dtype="float32")[:, None] * waves for count in (rows, columns))
    y, x = (ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=1) for angles in (y, x))
    shape = (rows, columns, 2 * len(frequencies))
    grid = ops.concatenate([ops.broadcast_to(x[None], shape), ops.broadcast_to(y[:, None], shape)], axis=-1)
    return ops.reshape(grid, (1, rows * columns, 4 * len(frequencies)))


def _sincos2d_at(patch_indices: Tensor, frequencies: np.ndarray) -> Tensor:
    """Returns what `sincos2d` does, in float32, at rows and columns `(batch, patches, 2)`."""
    waves = ops.convert_to_tensor(frequencies, "float32")
    y, x = (ops.cast(patch_indices[..., axis, None], "float32") * waves for axis in (0, 1))
    return ops.concatenate([ops.sin(x), ops.cos(x), ops.sin(y), ops.cos(y)], axis=-1)
