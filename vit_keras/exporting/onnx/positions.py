"""Learned positions of patches as ONNX nodes; resized in the graph where images can have any size."""

from collections.abc import Sequence

import numpy as np

from vit_keras.exporting.onnx.graph import FLOAT, Graph, refuse

_OFFSET = 0.1  # patches; DINO and DINOv2 add it to the new size
_RULES = {
    "bicubic_antialias": ("bicubic", "antialias"), "bicubic": ("bicubic", ""), "bicubic_offset": ("bicubic", "offset"),
    "bilinear": ("bilinear", ""), "bilinear_antialias": ("bilinear", "antialias"), "bilinear_corners": ("bilinear", "corners"),
}  # fmt: skip


def add_positions(
    graph: Graph, tokens: str, positions: np.ndarray, *, name: str, before: Sequence[int], rule: str
) -> str:
    """Adds positions `(1, patches, hidden_dim)` to the patch tokens, resized as `resize_grid` of the layers does.

    The matrices that resample rows and columns are computed in the graph, because runtimes differ in what their Resize operator does.
    """
    if graph.grid is None:
        return graph.add("Add", tokens, graph.constant(name, positions), name=f"{name}/add")
    rows, columns = before
    dim = positions.shape[-1]
    same = [
        graph.add("Equal", after, graph.integers(count), name=f"{name}/{axis}_same")
        for axis, after, count in zip(("rows", "columns"), graph.grid, before, strict=True)
    ]
    is_same = graph.add("And", *same, name=f"{name}/is_same")
    sides: Sequence[str] = graph.grid
    is_cropped = rule.endswith("_crop")
    if is_cropped:  # to a square of the longer side, of which the top left part is taken
        longer = graph.add("Max", *graph.grid, name=f"{name}/longer_side")
        sides = [
            graph.add("Where", is_same, count, longer, name=f"{name}/{axis}_resized_to")
            for axis, count in zip(("rows", "columns"), graph.grid, strict=True)
        ]
        rule = rule.removesuffix("_crop")
    matrices = [
        _add_matrix(graph, count, after, name=f"{name}/{axis}", rule=rule, is_same=is_same)
        for axis, count, after in zip(("along_rows", "along_columns"), before, sides, strict=True)
    ]
    if is_cropped:
        start, axis = graph.integers(0), graph.integers(0)
        matrices = [
            graph.add("Slice", matrix, start, count, axis, name=f"{matrix}_cropped")
            for matrix, count in zip(matrices, graph.grid, strict=True)
        ]
    grid = graph.constant(name, positions.reshape(rows, columns * dim))
    resized = graph.add("MatMul", matrices[0], grid, name=f"{name}/rows_done")
    resized = graph.reshape(resized, -1, columns, dim, name=f"{name}/by_row")
    resized = graph.add("MatMul", matrices[1], resized, name=f"{name}/resized")  # (new rows, new columns, dim)
    resized = graph.reshape(resized, 1, -1, dim, name=f"{name}/list")
    return graph.add("Add", tokens, resized, name=f"{name}/add")


def add_sincos(graph: Graph, tokens: str, frequencies: np.ndarray, *, name: str) -> str:
    """Adds the positions of `sincos2d` with these frequencies, `(hidden_dim / 4,)`, for the graph's own grid to the patch tokens."""
    hidden_dim = 4 * len(frequencies)
    rows, columns = graph.grid or ("", "")
    factors = graph.constant(f"{name}/frequencies", frequencies)
    shape = graph.add("Concat", rows, columns, graph.integers(hidden_dim // 2), name=f"{name}/shape", axis=0)
    halves = []
    for axis, count, unsqueezed in (("x", columns, 0), ("y", rows, 1)):
        _, cells = add_cells(graph, count, name=f"{name}/{axis}")
        column = graph.add("Unsqueeze", cells, graph.integers(1), name=f"{name}/{axis}/column")
        angles = graph.add("Mul", column, factors, name=f"{name}/{axis}/angles")
        waves = [graph.add(each, angles, name=f"{name}/{axis}/{each.lower()}") for each in ("Sin", "Cos")]
        both = graph.add("Concat", *waves, name=f"{name}/{axis}/waves", axis=1)
        one = graph.add("Unsqueeze", both, graph.integers(unsqueezed), name=f"{name}/{axis}/one_axis")
        halves.append(graph.add("Expand", one, shape, name=f"{name}/{axis}/grid"))
    grid = graph.add("Concat", *halves, name=f"{name}/grid", axis=-1)
    listed = graph.reshape(grid, 1, -1, hidden_dim, name=f"{name}/list")
    return graph.add("Add", tokens, listed, name=f"{name}/add")


def add_cells(graph: Graph, count: str, *, name: str) -> tuple[str, str]:
    """Returns a count `(1,)` and the numbers from 0 below it, as float32."""
    number = graph.add("Squeeze", count, graph.integers(0), name=f"{name}/count")
    zero, one = (graph.constant(f"constants/int_{each}", np.array(each, "int64")) for each in (0, 1))
    indices = graph.add("Range", zero, number, one, name=f"{name}/indices")
    size = graph.add("Cast", count, name=f"{name}/size", to=FLOAT)
    return size, graph.add("Cast", indices, name=f"{name}/cells", to=FLOAT)


def _add_matrix(graph: Graph, before: int, after: str, *, name: str, rule: str, is_same: str) -> str:
    """Returns the matrix `(after, before)` that resamples one axis."""
    if rule not in _RULES:
        raise refuse(f"position_resize={rule!r} with images of any size")
    kind, variant = _RULES[rule]
    size, cells = add_cells(graph, after, name=name)
    if variant == "corners":
        last = graph.add("Sub", size, graph.number(1.0), name=f"{name}/last")
        last = graph.add("Max", last, graph.number(1.0), name=f"{name}/last_or_one")
        step = graph.add("Div", graph.number(float(before - 1)), last, name=f"{name}/step")
        places = graph.add("Mul", cells, step, name=f"{name}/places")
    else:
        if variant == "offset":
            offset = graph.add("Where", is_same, graph.number(0.0), graph.number(_OFFSET), name=f"{name}/offset")
            size = graph.add("Add", size, offset, name=f"{name}/size_with_offset")
        step = graph.add("Div", graph.number(float(before)), size, name=f"{name}/step")
        centers = graph.add("Add", cells, graph.number(0.5), name=f"{name}/centers")
        centers = graph.add("Mul", centers, step, name=f"{name}/scaled_centers")
        places = graph.add("Sub", centers, graph.number(0.5), name=f"{name}/places")
    places = graph.add("Unsqueeze", places, graph.integers(1), name=f"{name}/column_of_places")
    if variant == "antialias":
        old = graph.constant(f"{name}/old_cells", np.arange(before, dtype="float32"))
        distances = graph.add("Sub", old, places, name=f"{name}/distances")
        wide = graph.add("Max", step, graph.number(1.0), name=f"{name}/width")
        distances = graph.add("Div", distances, wide, name=f"{name}/scaled_distances")
        weights = _add_kernel(graph, distances, kind, slope=-0.5, name=f"{name}/kernel")
        total = graph.reduce("ReduceSum", weights, 1, name=f"{name}/total", keepdims=True)
        return graph.add("Div", weights, total, name=name)
    # Two cells more on either side; those beyond the edge repeat the edge cell.
    old = graph.constant(f"{name}/old_cells", np.arange(-2, before + 2, dtype="float32"))
    distances = graph.add("Sub", old, places, name=f"{name}/distances")
    weights = _add_kernel(graph, distances, kind, slope=-0.75, name=f"{name}/kernel")
    repeated = np.clip(np.arange(-2, before + 2), 0, before - 1)
    edges = np.eye(before, dtype="float32")[repeated]  # (before + 4, before)
    return graph.add("MatMul", weights, graph.constant(f"{name}/edges", edges), name=name)


def _add_kernel(graph: Graph, distances: str, kind: str, *, slope: float, name: str) -> str:
    """Returns the weights of old cells at these distances (Keys 1981, doi 10.1109/TASSP.1981.1163711)."""
    x = graph.add("Abs", distances, name=f"{name}/x")
    if kind == "bilinear":
        falling = graph.add("Sub", graph.number(1.0), x, name=f"{name}/falling")
        return graph.add("Max", falling, graph.number(0.0), name=name)
    near = _add_polynomial(graph, x, (slope + 2, -(slope + 3), 0.0, 1.0), name=f"{name}/near")
    far = _add_polynomial(graph, x, (slope, -5 * slope, 8 * slope, -4 * slope), name=f"{name}/far")
    is_near = graph.add("LessOrEqual", x, graph.number(1.0), name=f"{name}/is_near")
    is_far = graph.add("Less", x, graph.number(2.0), name=f"{name}/is_far")
    outer = graph.add("Where", is_far, far, graph.number(0.0), name=f"{name}/outer")
    return graph.add("Where", is_near, near, outer, name=name)


def _add_polynomial(graph: Graph, x: str, factors: Sequence[float], *, name: str) -> str:
    """Returns a polynomial by Horner's scheme, the highest power first."""
    value = graph.number(factors[0])
    for power, factor in enumerate(factors[1:], start=1):
        value = graph.add("Mul", value, x, name=f"{name}/times_x_{power}")
        value = graph.add("Add", value, graph.number(factor), name=f"{name}/plus_{power}")
    return value
