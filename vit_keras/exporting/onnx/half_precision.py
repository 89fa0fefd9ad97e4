"""Stores the weights of an ONNX graph in float16; they are computed with in float32."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vit_keras.exporting.onnx.graph import FLOAT

_SMALLEST = 256  # numbers of a weight that is worth it


def store_in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy whose large weights are in float16, each followed by a Cast to float32, which runtimes compute when loading.

    Weights that float16 can't hold stay as they are. Products and sums in float16 would lose more, and on CPUs be slower.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    casts, renamed = [], {}
    for index, tensor in enumerate(copy.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if tensor.data_type != FLOAT or array.size < _SMALLEST or np.abs(array).max() > np.finfo("float16").max:
            continue
        copy.graph.initializer[index].CopyFrom(numpy_helper.from_array(array.astype("float16"), tensor.name))
        renamed[tensor.name] = f"{tensor.name}/float32"
        casts.append(
            helper.make_node("Cast", [tensor.name], [renamed[tensor.name]], name=renamed[tensor.name], to=FLOAT)
        )
    nodes = list(copy.graph.node)
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    del copy.graph.node[:]
    copy.graph.node.extend([*casts, *nodes])
    return copy
