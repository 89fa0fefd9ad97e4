"""Activation functions as ONNX nodes."""

import math
from collections.abc import Callable

from vit_keras.exporting.onnx.graph import Graph, refuse

_Activation = Callable[[Graph, str, str], str]


def add_activation(graph: Graph, activation: str, tensor: str, *, name: str) -> str:
    """Applies an activation of a block or one of Keras' own, by name, and returns the result's name."""
    if activation == "linear":
        return tensor
    known = _ACTIVATIONS.get(activation)
    if known is None:
        raise refuse(f"the activation {activation!r}")
    return known(graph, tensor, name)


def _gelu(graph: Graph, tensor: str, name: str) -> str:
    if graph.opset >= 20:
        return graph.add("Gelu", tensor, name=name)
    scaled = graph.add("Div", tensor, graph.number(math.sqrt(2)), name=f"{name}/scaled")
    erf = graph.add("Erf", scaled, name=f"{name}/erf")
    shifted = graph.add("Add", erf, graph.number(1.0), name=f"{name}/shifted")
    product = graph.add("Mul", tensor, shifted, name=f"{name}/product")
    return graph.add("Mul", product, graph.number(0.5), name=name)


def _gelu_tanh(graph: Graph, tensor: str, name: str) -> str:
    if graph.opset >= 20:
        return graph.add("Gelu", tensor, name=name, approximate="tanh")
    cube = graph.add("Pow", tensor, graph.number(3.0), name=f"{name}/cube")
    scaled = graph.add("Mul", cube, graph.number(0.044715), name=f"{name}/scaled_cube")
    inside = graph.add("Add", tensor, scaled, name=f"{name}/sum")
    inside = graph.add("Mul", inside, graph.number(math.sqrt(2 / math.pi)), name=f"{name}/scaled")
    tanh = graph.add("Tanh", inside, name=f"{name}/tanh")
    shifted = graph.add("Add", tanh, graph.number(1.0), name=f"{name}/shifted")
    product = graph.add("Mul", tensor, shifted, name=f"{name}/product")
    return graph.add("Mul", product, graph.number(0.5), name=name)


def _quick_gelu(graph: Graph, tensor: str, name: str) -> str:
    scaled = graph.add("Mul", tensor, graph.number(1.702), name=f"{name}/scaled")
    return graph.add("Mul", tensor, graph.add("Sigmoid", scaled, name=f"{name}/sigmoid"), name=name)


def _silu(graph: Graph, tensor: str, name: str) -> str:
    return graph.add("Mul", tensor, graph.add("Sigmoid", tensor, name=f"{name}/sigmoid"), name=name)


def _log_sigmoid(graph: Graph, tensor: str, name: str) -> str:
    negative = graph.add("Neg", tensor, name=f"{name}/negative")
    return graph.add("Neg", graph.add("Softplus", negative, name=f"{name}/softplus"), name=name)


def _mish(graph: Graph, tensor: str, name: str) -> str:
    softplus = graph.add("Softplus", tensor, name=f"{name}/softplus")
    return graph.add("Mul", tensor, graph.add("Tanh", softplus, name=f"{name}/tanh"), name=name)


def _relu6(graph: Graph, tensor: str, name: str) -> str:
    return graph.add("Clip", tensor, graph.number(0.0), graph.number(6.0), name=name)


def _operator(operator: str, **attributes: float) -> _Activation:
    return lambda graph, tensor, name: graph.add(operator, tensor, name=name, **attributes)


_ACTIVATIONS: dict[str, _Activation] = {
    "celu": _operator("Celu"),
    "elu": _operator("Elu"),
    "exponential": _operator("Exp"),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hard_sigmoid": _operator("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _operator("HardSwish"),
    "leaky_relu": _operator("LeakyRelu", alpha=0.2),
    "log_sigmoid": _log_sigmoid,
    "log_softmax": _operator("LogSoftmax", axis=-1),
    "mish": _mish,
    "quick_gelu": _quick_gelu,
    "relu": _operator("Relu"),
    "relu6": _relu6,
    "selu": _operator("Selu"),
    "sigmoid": _operator("Sigmoid"),
    "silu": _silu,
    "softmax": _operator("Softmax", axis=-1),
    "softplus": _operator("Softplus"),
    "softsign": _operator("Softsign"),
    "tanh": _operator("Tanh"),
}
