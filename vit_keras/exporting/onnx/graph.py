"""`Graph`: an ONNX graph that grows node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError

FLOAT = onnx.TensorProto.FLOAT
_IR_VERSIONS = {17: 8, 20: 9}
"""Version of the file format by that of the operators: the oldest that has them, for old runtimes."""


class Graph:
    """An ONNX graph that grows node by node; tensors are named as the nodes that make them.

    Args:
        weights: Arrays by the names that weights have in vit_keras, float32.
        opset: Version of the operators.
        config: Of the model.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], *, opset: int, config: ViTConfig) -> None:
        self.weights = weights
        self.opset = opset
        self.config = config
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.grid: tuple[str, str] | None = (
            None  # rows and columns of patches, int64 `(1,)`, where images can have any size
        )
        self.attention = ""  # the attention weights of the last block so far

    def weight(self, name: str) -> str:
        """Adds a weight under its own name, and returns it."""
        return self.constant(name, self.weights[name])

    def constant(self, name: str, array: np.ndarray) -> str:
        """Adds an array, or the same again, and returns its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.array(array, order="C"), name)  # keeps a 0-d array 0-d
        return name

    def number(self, value: float) -> str:
        """Returns a float32 constant of shape `()`."""
        return self.constant(f"constants/{value!r}", np.array(value, "float32"))

    def integers(self, *values: int) -> str:
        """Returns an int64 constant of shape `(len(values),)`, such as a shape or axes."""
        return self.constant("constants/" + "x".join(map(str, values)), np.array(values, "int64"))

    def add(self, operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Adds a node with one output, and returns the output's name."""
        return self.add_split(operator, *inputs, name=name, outputs=[name], **attributes)[0]

    def add_split(
        self, operator: str, *inputs: str, name: str, outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Adds a node with several outputs, and returns their names."""
        self.nodes.append(helper.make_node(operator, list(inputs), list(outputs), name=name, **attributes))
        return outputs

    def split(self, tensor: str, parts: Sequence[str], *, axis: int, size: int, name: str) -> Sequence[str]:
        """Cuts a tensor along an axis into parts of equal size, and returns their names."""
        sizes = self.integers(*[size] * len(parts))
        return self.add_split(
            "Split", tensor, sizes, name=name, outputs=[f"{name}/{part}" for part in parts], axis=axis
        )

    def reshape(self, tensor: str, *shape: int, name: str) -> str:
        """Reshapes; 0 keeps the size of an axis, -1 is computed."""
        return self.add("Reshape", tensor, self.integers(*shape), name=name)

    def slice(self, tensor: str, start: int, *, axis: int, name: str) -> str:
        """Cuts off what is in front of `start`."""
        far = int(np.iinfo("int64").max)
        ends = [self.integers(each) for each in (start, far, axis)]
        return self.add("Slice", tensor, *ends, name=name)

    def reduce(self, operator: str, tensor: str, axis: int, *, name: str, keepdims: bool = False) -> str:
        """Adds a sum, mean or norm along an axis."""
        if self.opset >= 18 or operator == "ReduceSum":
            return self.add(operator, tensor, self.integers(axis), name=name, keepdims=int(keepdims))
        return self.add(operator, tensor, name=name, axes=[axis], keepdims=int(keepdims))

    def build(
        self, *, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], name: str
    ) -> onnx.ModelProto:
        """Returns the whole model."""
        graph = helper.make_graph(self.nodes, name, list(inputs), list(outputs), list(self.initializers.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=_IR_VERSIONS[self.opset]
        )
        model.producer_name = "vit_keras"
        return model


def refuse(what: str) -> InvalidArgumentError:
    """Returns the error for something that no graph is written for."""
    return InvalidArgumentError(
        f"The ONNX writer of vit_keras does not know {what}. Export another format, such as .keras."
    )
