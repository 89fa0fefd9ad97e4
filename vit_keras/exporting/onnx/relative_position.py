"""Relative position biases as ONNX nodes."""

from collections.abc import Sequence

import numpy as np

from vit_keras.exporting.onnx.graph import Graph, refuse
from vit_keras.layers.positions.relative_position_bias import log_offsets

_OF_CLASS_TOKEN = 3  # rows of a table: from the class token to a patch, from a patch to it, from it to itself


def add_relative_position(
    graph: Graph,
    *,
    name: str,
    num_heads: int,
    kind: str,
    grid_size: Sequence[int],
    num_prefix_tokens: int,
    hidden_dim: int,
) -> str:
    """Returns the bias of each pair of tokens, `(heads, tokens, tokens)`, as `RelativePositionBias` computes it.

    The file holds one number per offset; runtimes spread them over the pairs of tokens when they load it.
    """
    rows, columns = grid_size
    if kind == "table":
        table = graph.weights[f"{name}/table"]  # (offsets, heads)
    elif kind == "mlp":
        expand, expand_bias, contract, contract_bias = (
            graph.weights[f"{name}/{each}"].astype("float64")
            for each in ("expand_kernel", "expand_bias", "contract_kernel", "contract_bias")
        )
        numbers = np.maximum(log_offsets(rows, columns) @ expand + expand_bias, 0) @ contract + contract_bias
        table = np.concatenate([numbers, np.zeros((1, num_heads))]).astype(
            "float32"
        )  # the last row is of prefix tokens
    else:
        raise refuse(f"the relative position {kind!r}")
    indices = _index_pairs(rows, columns, num_prefix_tokens, last=len(table) - 1, has_class_rows=kind == "table")
    shared = graph.constant(f"relative_position/{kind}_indices", indices)
    pairs = graph.add("Gather", graph.constant(f"{name}/table", table), shared, name=f"{name}/pairs", axis=0)
    return graph.add("Transpose", pairs, name=name, perm=[2, 0, 1])


def _index_pairs(rows: int, columns: int, prefix: int, *, last: int, has_class_rows: bool) -> np.ndarray:
    """Returns the row of the table for each query (first axis) and key, `(tokens, tokens)`, int32."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    indices = np.full((len(y) + prefix, len(y) + prefix), last, "int32")
    along_rows, along_columns = y[:, None] - y + rows - 1, x[:, None] - x + columns - 1
    indices[prefix:, prefix:] = along_rows * (2 * columns - 1) + along_columns
    if has_class_rows and prefix:
        from_class, to_class, itself = range(last - _OF_CLASS_TOKEN + 1, last + 1)
        indices[0, 1:], indices[1:, 0], indices[0, 0] = from_class, to_class, itself
    return indices
