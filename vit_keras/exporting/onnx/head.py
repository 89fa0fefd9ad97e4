"""Pooling and heads as ONNX nodes: those of `vit`, and the user's own layers after them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vit_keras.exporting.onnx.activations import add_activation
from vit_keras.exporting.onnx.dense import add_dense
from vit_keras.exporting.onnx.graph import Graph, refuse

_FOR_TRAINING = ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise")
_UNCHANGED = ("Identity", "Flatten")  # the outputs have one axis per image


def add_token_pooling(graph: Graph, name: str, inputs: Sequence[str], *, pooling: str, num_prefix_tokens: int) -> str:
    """Adds `TokenPooling`."""
    (tokens,) = inputs
    if pooling in ("token", "distillation"):
        return _add_token(graph, tokens, 0 if pooling == "token" else 1, name=name)
    patches = tokens
    if num_prefix_tokens:
        patches = graph.slice(tokens, num_prefix_tokens, axis=1, name=f"{name}/patch_tokens")
    if pooling == "mean":
        return graph.reduce("ReduceMean", patches, 1, name=name)
    if pooling == "token_and_mean":
        mean = graph.reduce("ReduceMean", patches, 1, name=f"{name}/mean")
        return graph.add("Concat", _add_token(graph, tokens, 0, name=f"{name}/token"), mean, name=name, axis=-1)
    raise refuse(f"pooling={pooling!r}")


def _add_token(graph: Graph, tokens: str, index: int, *, name: str) -> str:
    return graph.add(
        "Gather", tokens, graph.constant(f"constants/int_{index}", np.array(index, "int64")), name=name, axis=1
    )


def add_final_dense(
    graph: Graph,
    name: str,
    inputs: Sequence[str],
    *,
    units: int,
    activation: str | None = None,
    kernel_initializer: Any = None,
    dtype: Any = None,
) -> str:
    """Adds a head, or the layer before it."""
    (features,) = inputs
    return add_activation(
        graph, activation or "linear", add_dense(graph, features, name=name), name=f"{name}/{activation}"
    )


def add_average(graph: Graph, name: str, inputs: Sequence[str], *, dtype: Any = None) -> str:
    """Adds the mean of the outputs of both heads."""
    return graph.add("Mean", *inputs, name=name)


def add_probabilities(graph: Graph, name: str, inputs: Sequence[str], *, activation: str, dtype: Any = None) -> str:
    """Adds the activation after both heads."""
    (logits,) = inputs
    return add_activation(graph, activation, logits, name=name)


def add_own_layer(graph: Graph, tensor: str, layer: Mapping[str, Any]) -> str:
    """Adds one of the user's own layers, as `vit_keras.models.own_head.describe` describes it."""
    kind, name = layer["layer"], layer["name"]
    if kind in _FOR_TRAINING or kind in _UNCHANGED:
        return tensor
    if kind in ("Dense", "Activation"):
        result = add_dense(graph, tensor, name=name) if kind == "Dense" else tensor
        return add_activation(graph, layer["activation"], result, name=f"{name}/activation")
    if kind == "ELU":
        return graph.add("Elu", tensor, name=name, alpha=float(layer["alpha"]))
    if kind == "LeakyReLU":
        return graph.add("LeakyRelu", tensor, name=name, alpha=float(layer["negative_slope"]))
    if kind == "ReLU":
        return _add_relu(graph, tensor, layer)
    if kind == "Rescaling":
        scaled = graph.add(
            "Mul", tensor, graph.constant(f"{name}/scale", np.array(layer["scale"], "float32")), name=f"{name}/scaled"
        )
        return graph.add(
            "Add", scaled, graph.constant(f"{name}/offset", np.array(layer["offset"], "float32")), name=name
        )
    if kind == "Softmax":
        return graph.add("Softmax", tensor, name=name, axis=_last(layer))
    if kind == "UnitNormalization":
        norm = graph.reduce("ReduceL2", tensor, _last(layer), name=f"{name}/norm", keepdims=True)
        norm = graph.add("Max", norm, graph.number(1e-12), name=f"{name}/positive_norm")
        return graph.add("Div", tensor, norm, name=name)
    if kind == "BatchNormalization":
        return _add_batch_norm(graph, tensor, layer)
    if kind == "LayerNormalization":
        width = graph.weights.get(f"{name}/gamma", graph.weights.get(f"{name}/beta"))
        if width is None:
            raise refuse(f"the layer {name!r}, a LayerNormalization without scale and center")
        gamma = graph.weights.get(f"{name}/gamma", np.ones_like(width))
        beta = graph.weights.get(f"{name}/beta", np.zeros_like(width))
        weights = [graph.constant(f"{name}/gamma", gamma), graph.constant(f"{name}/beta", beta)]
        _last(layer)
        return graph.add("LayerNormalization", tensor, *weights, name=name, axis=-1, epsilon=float(layer["epsilon"]))
    raise refuse(f"the layer {name!r}, a {kind}")


def _last(layer: Mapping[str, Any]) -> int:
    """Returns the last axis; refuses any other."""
    axis = layer["axis"]
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if axis not in (-1, 1):
        raise refuse(f"axis={layer['axis']!r} of the layer {layer['name']!r}")
    return -1


def _add_relu(graph: Graph, tensor: str, layer: Mapping[str, Any]) -> str:
    name, largest = layer["name"], layer["max_value"]
    if layer["threshold"]:
        raise refuse(f"threshold={layer['threshold']!r} of the layer {name!r}")
    slope = float(layer["negative_slope"] or 0.0)
    operator, attributes = ("LeakyRelu", {"alpha": slope}) if slope else ("Relu", {})
    if largest is None:
        return graph.add(operator, tensor, name=name, **attributes)
    positive = graph.add(operator, tensor, name=f"{name}/relu", **attributes)
    return graph.add("Min", positive, graph.number(float(largest)), name=name)


def _add_batch_norm(graph: Graph, tensor: str, layer: Mapping[str, Any]) -> str:
    name = layer["name"]
    _last(layer)
    mean, variance = (graph.weights[f"{name}/{each}"].astype("float64") for each in ("moving_mean", "moving_variance"))
    scale = graph.weights.get(f"{name}/gamma", np.ones_like(mean)) / np.sqrt(variance + layer["epsilon"])
    offset = graph.weights.get(f"{name}/beta", np.zeros_like(mean)) - mean * scale
    scaled = graph.add("Mul", tensor, graph.constant(f"{name}/scale", scale.astype("float32")), name=f"{name}/scaled")
    return graph.add("Add", scaled, graph.constant(f"{name}/offset", offset.astype("float32")), name=name)
