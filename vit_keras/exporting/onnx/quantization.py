"""Int8 weights of the matrix products of an ONNX file, by onnxruntime."""

import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization

from vit_keras.models.architecture import IMAGES

_MEASURED = 32  # images
_ERROR_GOAL = 0.02  # of the standard deviation of the outputs
_KEPT_SHARE = 0.1  # of the weights


def quantize_dynamic(before: Path, after: Path, *, external_data: bool = False) -> None:
    """Rounds the weights of all products per output; activations are rounded by the range of each batch.

    `external_data` stores the weights in a file beside `after`.
    """
    with _quiet():
        quantization.quantize_dynamic(
            before,
            after,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=find_products(onnx.load(before, load_external_data=False)),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=external_data,
        )


def quantize_static(before: Path, after: Path, images: np.ndarray, *, external_data: bool = False) -> None:
    """Rounds weights per output, and activations by the range that images give them.

    Layers that cause most of the error stay in floating point: each part of the model (the patch projection, a block, the head) is
    rounded alone, and its error measured on some of the images.

    Args:
        before: The file in float32.
        after: The new file.
        images: At least one, uint8.
        external_data: Stores the weights in a file beside `after`.
    """
    model = onnx.load(before, load_external_data=False)
    parts = _group_by_part(model)
    with _quiet(), tempfile.TemporaryDirectory(prefix="vit-keras-") as folder:

        def quantize(products: Sequence[str], path: Path) -> None:
            quantization.quantize_static(
                before,
                path,
                _Images(images),
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=list(products),
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                activation_type=quantization.QuantType.QUInt8,
                calibration_cache_path=Path(folder, "ranges.json"),
                use_external_data_format=external_data,
            )

        measured = images[:_MEASURED]
        expected = _run(before, measured)
        errors = {}
        for part, products in parts.items():
            trial = Path(folder, "trial.onnx")
            quantize(products, trial)
            errors[part] = relative_error(expected, _run(trial, measured))
        kept = choose_float(errors, {part: _count_weights(model, products) for part, products in parts.items()})
        quantize([product for part, products in parts.items() if part not in kept for product in products], after)


def relative_error(expected: np.ndarray, found: np.ndarray) -> float:
    """Returns the root mean square of a difference, relative to the standard deviation of what is expected."""
    spread = float(expected.std()) or 1.0
    return float(np.sqrt(np.mean((found - expected) ** 2))) / spread


def choose_float(errors: Mapping[str, float], sizes: Mapping[str, int]) -> set[str]:
    """Returns the parts to keep in floating point: those with the largest errors, while the rest's error is too large.

    They hold at most a tenth of the weights, so that the file stays small and fast.

    Args:
        errors: What each part adds to the error when it alone is rounded; errors of several add up in squares.
        sizes: Weights of each part.

    Example:
        >>> choose_float({"head": 0.3, "block_00": 0.01, "block_01": 0.02}, {"head": 10, "block_00": 500, "block_01": 500})
        {'head'}
    """
    kept: set[str] = set()
    allowed = _KEPT_SHARE * sum(sizes.values())
    for part in sorted(errors, key=lambda part: -errors[part]):
        rest = math.sqrt(sum(error**2 for name, error in errors.items() if name not in kept))
        matters = rest > _ERROR_GOAL and errors[part] > _ERROR_GOAL / 2
        if matters and sum(sizes[name] for name in kept) + sizes[part] <= allowed:
            kept.add(part)
    return kept


def _group_by_part(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Returns the products with weights by the part of the model they are in."""
    parts: dict[str, list[str]] = {}
    for product in find_products(model):
        parts.setdefault(product.split("/")[0], []).append(product)
    return parts


def _count_weights(model: onnx.ModelProto, products: Sequence[str]) -> int:
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    return sum(sizes[node.input[1]] for node in model.graph.node if node.name in products)


def _run(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_outputs()[0].name
    return np.concatenate([session.run([name], {IMAGES: image[None]})[0] for image in images])


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
