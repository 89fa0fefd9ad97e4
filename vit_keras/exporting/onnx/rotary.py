"""Rotary embeddings as ONNX nodes."""

import math
from typing import Any

import numpy as np

from vit_keras.exporting.onnx.graph import Graph, refuse
from vit_keras.exporting.onnx.positions import add_cells
from vit_keras.layers import RotaryEmbedding

_TABLES = "rotary"
_FIELDS = {"kind", "grid_size", "temperature", "order", "reference", "offset"}


def add_rotary(
    graph: Graph, heads: str, *, name: str, of: str, num_heads: int, head_dim: int, rotary: dict[str, Any]
) -> str:
    """Rotates queries or keys `(batch, heads, tokens, head_dim)` by the tokens' positions, as `RotaryEmbedding` does."""
    kind = rotary["kind"]
    if kind not in ("axial", "mixed", "centered") or set(rotary) - _FIELDS:
        raise refuse(f"the rotary embedding {rotary!r}")
    table = f"{name}/table" if kind == "mixed" else _TABLES  # mixed frequencies are each block's own
    cos, sin = f"{table}/cos", f"{table}/sin"
    if not _is_made(graph, cos):
        _add_tables(graph, table, num_heads=num_heads, head_dim=head_dim, rotary=rotary, weights=f"{name}/frequencies")
    half = head_dim // 2
    if kind == "centered":  # a head's first half is paired with its second
        first, second = graph.split(heads, ["first", "second"], axis=-1, size=half, name=f"{name}/{of}_halves")
        turned = graph.add("Concat", second, first, name=f"{name}/{of}_swapped", axis=-1)
    else:  # adjacent channels are pairs
        swapped = np.arange(head_dim).reshape(half, 2)[:, ::-1].reshape(-1)
        indices = graph.constant(f"{_TABLES}/swapped_pairs", swapped.astype("int64"))
        turned = graph.add("Gather", heads, indices, name=f"{name}/{of}_swapped", axis=-1)
    kept = graph.add("Mul", heads, cos, name=f"{name}/{of}_kept")
    turned = graph.add("Mul", turned, sin, name=f"{name}/{of}_turned")
    return graph.add("Add", kept, turned, name=f"{name}/{of}")


def _is_made(graph: Graph, tensor: str) -> bool:
    return tensor in graph.initializers or any(tensor in node.output for node in reversed(graph.nodes))


def _add_tables(
    graph: Graph, table: str, *, num_heads: int, head_dim: int, rotary: dict[str, Any], weights: str
) -> None:
    """Adds cosines, and sines with the sign of each channel, `([heads,] tokens, head_dim)`."""
    layer = RotaryEmbedding(**rotary)
    if graph.grid is None and rotary["kind"] != "mixed":
        layer.build((None, graph.config.num_tokens, num_heads, head_dim))
        cos, sin = (np.asarray(each)[:, 0] for each in layer.cos_sin)  # (tokens, head_dim / 2)
        graph.constant(f"{table}/cos", _pair(cos, cos, rotary["kind"]))
        graph.constant(f"{table}/sin", _pair(-sin, sin, rotary["kind"]))
        return
    positions = _add_positions(graph, layer, num_heads=num_heads, head_dim=head_dim, rotary=rotary)
    if rotary["kind"] == "mixed":
        frequencies = np.transpose(graph.weights[weights], (1, 0, 2))  # (heads, 2, head_dim / 2)
        along = graph.constant(weights, frequencies)
        angles = graph.add("MatMul", positions, along, name=f"{table}/angles")  # (heads, tokens, head_dim / 2)
    else:
        quarter = head_dim // 4
        scale = 2 * math.pi if rotary["kind"] == "centered" else 1.0
        bands = scale * rotary["temperature"] ** (-np.arange(quarter) / quarter)
        frequencies = np.zeros((2, 2 * quarter), "float32")  # the first half of the angles belongs to the first axis
        frequencies[0, :quarter] = frequencies[1, quarter:] = bands
        along = graph.constant(f"{table}/bands", frequencies)
        angles = graph.add("MatMul", positions, along, name=f"{table}/angles")  # (tokens, head_dim / 2)
    pairs = [graph.add(each, angles, name=f"{table}/{each.lower()}_of_pairs") for each in ("Cos", "Sin")]
    negative = graph.add("Neg", pairs[1], name=f"{table}/negative_sin")
    _add_pairs(graph, pairs[0], pairs[0], name=f"{table}/cos", kind=rotary["kind"], head_dim=head_dim)
    _add_pairs(graph, negative, pairs[1], name=f"{table}/sin", kind=rotary["kind"], head_dim=head_dim)


def _pair(first: np.ndarray, second: np.ndarray, kind: str) -> np.ndarray:
    """Returns the factors of all channels from those of the first and of the second channel of each pair."""
    if kind == "centered":
        return np.concatenate([first, second], axis=-1)
    return np.stack([first, second], axis=-1).reshape(*first.shape[:-1], -1)


def _add_pairs(graph: Graph, first: str, second: str, *, name: str, kind: str, head_dim: int) -> None:
    """Adds what `_pair` computes."""
    if kind == "centered":
        graph.add("Concat", first, second, name=name, axis=-1)
        return
    axes = graph.integers(-1)
    apart = [
        graph.add("Unsqueeze", each, axes, name=f"{name}/{place}") for place, each in (("even", first), ("odd", second))
    ]
    pairs = graph.add("Concat", *apart, name=f"{name}/pairs", axis=-1)
    shape = [0, 0, head_dim] if kind == "mixed" else [0, head_dim]
    graph.reshape(pairs, *shape, name=name)


def _add_positions(
    graph: Graph, layer: RotaryEmbedding, *, num_heads: int, head_dim: int, rotary: dict[str, Any]
) -> str:
    """Returns the positions of all tokens along both axes, `(tokens, 2)`; those of prefix tokens are 0."""
    name = f"{_TABLES}/positions"
    if _is_made(graph, name):
        return name
    if graph.grid is None:
        layer.build((None, graph.config.num_tokens, num_heads, head_dim))
        return graph.constant(name, layer.positions)
    along = []
    for axis, count in zip(("rows", "columns"), graph.grid, strict=True):
        place = f"{name}/{axis}"
        size, values = add_cells(graph, count, name=place)
        reference = rotary["reference"]
        if rotary["kind"] == "centered":  # 2 (i + 0.5) / size - 1
            values = graph.add("Add", values, graph.number(0.5), name=f"{place}/centers")
            values = graph.add("Mul", values, graph.number(2.0), name=f"{place}/doubled")
            values = graph.add("Div", values, size, name=f"{place}/relative")
            values = graph.add("Sub", values, graph.number(1.0), name=f"{place}/centered")
        elif rotary.get("offset"):
            values = graph.add("Add", values, graph.number(float(rotary["offset"])), name=f"{place}/shifted")
        if rotary["kind"] == "axial" and reference is not None:
            values = graph.add("Div", values, size, name=f"{place}/relative")
            wanted = reference[0 if axis == "rows" else 1]
            values = graph.add("Mul", values, graph.number(float(wanted)), name=f"{place}/scaled")
        along.append(values)
    rows, columns = graph.grid
    shape = graph.add("Concat", rows, columns, name=f"{name}/grid", axis=0)
    grids = []
    for axis, values, unsqueezed in (("rows", along[0], 1), ("columns", along[1], 0)):
        one = graph.add("Unsqueeze", values, graph.integers(unsqueezed), name=f"{name}/{axis}/one_axis")
        wide = graph.add("Expand", one, shape, name=f"{name}/{axis}/grid")
        grids.append(graph.reshape(wide, -1, 1, name=f"{name}/{axis}/list"))
    ordered = grids if rotary["order"] == "yx" else grids[::-1]
    if not graph.config.num_prefix_tokens:
        return graph.add("Concat", *ordered, name=name, axis=1)
    patches = graph.add("Concat", *ordered, name=f"{name}/patches", axis=1)
    prefix = graph.constant(f"{name}/prefix", np.zeros((graph.config.num_prefix_tokens, 2), "float32"))
    return graph.add("Concat", prefix, patches, name=name, axis=0)
