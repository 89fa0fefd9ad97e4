"""Dense layers and norms as ONNX nodes."""

import numpy as np

from vit_keras.exporting.onnx.graph import Graph, refuse


def add_dense(graph: Graph, tensor: str, *, name: str, bias: np.ndarray | None = None) -> str:
    """Multiplies by the kernel of a layer and adds its bias, or the one that is given."""
    result = graph.add("MatMul", tensor, graph.weight(f"{name}/kernel"), name=name)
    if bias is not None:
        return graph.add("Add", result, graph.constant(f"{name}/bias", bias), name=f"{name}/add_bias")
    if f"{name}/bias" not in graph.weights:
        return result
    return graph.add("Add", result, graph.weight(f"{name}/bias"), name=f"{name}/add_bias")


def add_norm(graph: Graph, tensor: str, *, name: str, epsilon: float, norm: str = "layer") -> str:
    """Normalizes the last axis by a norm of `ViTConfig.norm`."""
    if norm == "layer":
        return add_layer_norm(graph, tensor, name=name, epsilon=epsilon)
    if norm != "rms":
        raise refuse(f"norm={norm!r}")
    square = graph.add("Pow", tensor, graph.number(2.0), name=f"{name}/square")
    mean = graph.reduce("ReduceMean", square, -1, name=f"{name}/mean", keepdims=True)
    shifted = graph.add("Add", mean, graph.number(float(epsilon)), name=f"{name}/shifted")
    rms = graph.add("Sqrt", shifted, name=f"{name}/rms")
    divided = graph.add("Div", tensor, rms, name=f"{name}/divided")
    return graph.add("Mul", divided, graph.weight(f"{name}/gamma"), name=name)


def add_layer_norm(graph: Graph, tensor: str, *, name: str, epsilon: float) -> str:
    """Normalizes the last axis."""
    weights = [graph.weight(f"{name}/{each}") for each in ("gamma", "beta")]
    return graph.add("LayerNormalization", tensor, *weights, name=name, axis=-1, epsilon=float(epsilon))
