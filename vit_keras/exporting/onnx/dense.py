"""Dense layers and norms as ONNX nodes."""

import numpy as np

from vit_keras.exporting.onnx.graph import Graph


def add_dense(graph: Graph, tensor: str, *, name: str, bias: np.ndarray | None = None) -> str:
    """Multiplies by the kernel of a layer and adds its bias, or the one that is given."""
    result = graph.add("MatMul", tensor, graph.weight(f"{name}/kernel"), name=name)
    if bias is not None:
        return graph.add("Add", result, graph.constant(f"{name}/bias", bias), name=f"{name}/add_bias")
    if f"{name}/bias" not in graph.weights:
        return result
    return graph.add("Add", result, graph.weight(f"{name}/bias"), name=f"{name}/add_bias")


def add_layer_norm(graph: Graph, tensor: str, *, name: str, epsilon: float) -> str:
    """Normalizes the last axis."""
    weights = [graph.weight(f"{name}/{each}") for each in ("gamma", "beta")]
    return graph.add("LayerNormalization", tensor, *weights, name=name, axis=-1, epsilon=float(epsilon))
