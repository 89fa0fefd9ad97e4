"""Relative position bias: a learned number per head and offset, added to the attention scores."""

from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_positive, check_tokens

KINDS = ("table", "mlp")
_OF_CLASS_TOKEN = 3  # rows of a table: from the class token to a patch, from a patch to it, from it to itself


@keras.saving.register_keras_serializable(package="vit_keras")
class RelativePositionBias(BaseLayer):
    """A bias for each head and pair of tokens, which depends on the offset between two patches alone.

    Papers: "table", Bao et al. 2022, arXiv 2106.08254, after Liu et al. 2021, arXiv 2103.14030, section 3.2: one learned number per head
    and offset, and three for the class token. "mlp", after Liu et al. 2022, arXiv 2111.09883, section 3.3, as in timm: a small network of
    the logarithms of both offsets; prefix tokens have no bias.

    Args:
        kind: "table" or "mlp".
        num_heads: Attention heads.
        grid_size: Rows and columns of patches.
        num_prefix_tokens: Tokens before the patch tokens; a table allows 0 or 1, the class token.
        hidden_dim: Hidden width of the network ("mlp").

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`; nothing but the dtype policy depends on them.
        returns: `(num_heads, tokens, tokens)`, float32; queries by keys.

    Raises:
        InvalidArgumentError: An argument is out of its range, or the number of tokens is not that of the grid and the prefix tokens.

    Example:
        >>> RelativePositionBias("table", num_heads=3, grid_size=(14, 14), num_prefix_tokens=1)(keras.Input((197, 64))).shape
        (3, 197, 197)
    """

    def __init__(
        self,
        kind: str,
        *,
        num_heads: int,
        grid_size: tuple[int, int],
        num_prefix_tokens: int = 0,
        hidden_dim: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        layer = type(self).__name__
        check_choice(layer, choices=KINDS, kind=kind)
        check_positive(layer, num_heads=num_heads, hidden_dim=hidden_dim, rows=grid_size[0], columns=grid_size[1])
        if kind == "table":
            check_choice(f'{layer} with kind="table"', choices=(0, 1), num_prefix_tokens=num_prefix_tokens)
        self.kind = kind
        self.num_heads = num_heads
        self.grid_size = tuple(grid_size)
        self.num_prefix_tokens = num_prefix_tokens
        self.hidden_dim = hidden_dim

    @property
    def num_tokens(self) -> int:
        """Prefix tokens and patches."""
        return self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens

    def build(self, input_shape: Shape) -> None:
        """Creates the table or the network."""
        layer = type(self).__name__
        tokens, _ = check_tokens(layer, input_shape)
        if tokens not in (None, self.num_tokens):
            raise InvalidArgumentError(
                f"{layer} got {tokens} tokens, and grid_size={self.grid_size} with num_prefix_tokens={self.num_prefix_tokens} makes "
                f"{self.num_tokens}."
            )
        # Computed in float32 under every policy: the bias is added to scores in float32.
        if self.kind == "table":
            shape = (table_length(self.grid_size, self.num_prefix_tokens), self.num_heads)
            self.table = self.add_weight(shape=shape, initializer="zeros", autocast=False, name="table")
        else:
            self.network = [
                self.add_weight(shape=shape, initializer=initializer, autocast=False, name=name)
                for name, shape, initializer in (
                    ("expand_kernel", (2, self.hidden_dim), "glorot_uniform"),
                    ("expand_bias", (self.hidden_dim,), "zeros"),
                    ("contract_kernel", (self.hidden_dim, self.num_heads), "glorot_uniform"),
                    ("contract_bias", (self.num_heads,), "zeros"),
                )
            ]
        self.built = True

    def call(self, tokens: Tensor) -> Tensor:
        """Computes the bias of each pair of tokens."""
        if self.kind == "table":
            table = ops.cast(self.table, "float32")
            if not self.num_prefix_tokens:
                return self._spread(table)
            return self._add_class_token(self._spread(table[:-_OF_CLASS_TOKEN]), table[-_OF_CLASS_TOKEN:])
        into, into_bias, out, out_bias = (ops.cast(weight, "float32") for weight in self.network)
        inside = ops.relu(ops.matmul(ops.convert_to_tensor(log_offsets(*self.grid_size)), into) + into_bias)
        bias = self._spread(ops.matmul(inside, out) + out_bias)
        return ops.pad(bias, ((0, 0), *((self.num_prefix_tokens, 0),) * 2))

    def _spread(self, offsets: Tensor) -> Tensor:
        """Returns the numbers of all offsets, `(offsets, heads)`, at each pair of patches, `(heads, patches, patches)`."""
        rows, columns = self.grid_size
        offsets = ops.reshape(offsets, (2 * rows - 1, 2 * columns - 1, self.num_heads))
        along_rows = ops.take(offsets, _differences(rows).reshape(-1), axis=0)  # (rows * rows, offsets, heads)
        pairs = ops.take(along_rows, _differences(columns).reshape(-1), axis=1)
        pairs = ops.reshape(pairs, (rows, rows, columns, columns, self.num_heads))
        pairs = ops.transpose(pairs, (4, 0, 2, 1, 3))  # (heads, row, column, row of the key, column of the key)
        return ops.reshape(pairs, (self.num_heads, rows * columns, rows * columns))

    def _add_class_token(self, bias: Tensor, of_class_token: Tensor) -> Tensor:
        patches = self.num_tokens - 1
        from_class, to_class, itself = (
            ops.reshape(each, (-1, 1, 1)) for each in ops.unstack(of_class_token, _OF_CLASS_TOKEN)
        )
        first = ops.concatenate([itself, ops.broadcast_to(from_class, (self.num_heads, 1, patches))], axis=2)
        others = ops.concatenate([ops.broadcast_to(to_class, (self.num_heads, patches, 1)), bias], axis=2)
        return ops.concatenate([first, others], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(num_heads, tokens, tokens)`."""
        return (self.num_heads, self.num_tokens, self.num_tokens)

    def compute_output_spec(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Returns shape and dtype of the output, float32 under every dtype policy."""
        return keras.KerasTensor(self.compute_output_shape(tokens.shape), dtype="float32")


def table_length(grid_size: tuple[int, ...], num_prefix_tokens: int) -> int:
    """Returns the number of rows of a table: one per offset, and three for the class token."""
    rows, columns = grid_size
    return (2 * rows - 1) * (2 * columns - 1) + (_OF_CLASS_TOKEN if num_prefix_tokens else 0)


def log_offsets(rows: int, columns: int) -> np.ndarray:
    """Returns sign(d) log(1 + |d|) of both offsets d, in patches, `(offsets, 2)`, float32."""
    offsets = np.mgrid[1 - rows : rows, 1 - columns : columns].reshape(2, -1).T.astype("float32")
    return np.asarray(np.sign(offsets) * np.log1p(np.abs(offsets)), "float32")


def _differences(count: int) -> np.ndarray:
    """Returns the index of the offset between a query's place (first axis) and a key's place, int32."""
    places = np.arange(count, dtype="int32")
    return np.asarray(places[:, None] - places + count - 1)
