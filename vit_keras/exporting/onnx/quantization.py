"""Int8 weights of the matrix products of an ONNX file, by onnxruntime."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.architecture import IMAGES

_INTEGER_PRODUCTS = ("MatMulInteger", "QLinearMatMul")
_CALIBRATED = 128  # images


def quantize_dynamic(before: Path, after: Path) -> None:
    """Rounds the weights of all products per output; activations are rounded by the range of each batch."""
    with _quiet():
        quantization.quantize_dynamic(
            before,
            after,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=find_products(onnx.load(before)),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )


def quantize_static(before: Path, after: Path, images: np.ndarray) -> None:
    """Rounds weights per output, and activations by the range that calibration images give them.

    Raises:
        InvalidArgumentError: There are no images.
    """
    if not len(images):
        raise InvalidArgumentError(
            'quantization="static" needs images to find the range of the activations: give some with calibration=, or use '
            'quantization="dynamic", which needs none.'
        )
    with _quiet():
        quantization.quantize_static(
            before,
            after,
            _Images(images[:_CALIBRATED]),
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=find_products(onnx.load(before)),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )


def find_products(model: onnx.ModelProto) -> list[str]:
    """Returns the names of the products with weights: the layers that int8 makes smaller and faster."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def float_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the layers whose products with weights are in floating point, of a file with int8 ones; else none."""
    is_int8 = any(tensor.data_type == onnx.TensorProto.INT8 for tensor in model.graph.initializer)
    return tuple(find_products(model)) if is_int8 else ()


class _Images(quantization.CalibrationDataReader):
    """Gives onnxruntime one image after the other."""

    def __init__(self, images: np.ndarray) -> None:
        self._batches: Iterator[np.ndarray] = (images[index : index + 1] for index in range(len(images)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next image; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the advice that onnxruntime logs with the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
