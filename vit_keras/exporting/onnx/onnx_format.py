"""ONNX files: written by vit_keras, and run by onnxruntime."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import onnx
import onnxruntime
from onnx.external_data_helper import set_external_data

from vit_keras.exporting.base import ExportJob, Format, Runtime, float32_beside
from vit_keras.exporting.onnx.half_precision import store_in_float16
from vit_keras.exporting.onnx.quantization import float_layers, quantize_dynamic, quantize_static
from vit_keras.exporting.onnx.writer import ModelDescription, write_graph
from vit_keras.exporting.options import Precision
from vit_keras.exporting.quantize import choose_calibration
from vit_keras.exporting.record import ExportRecord
from vit_keras.exporting.target import data_beside
from vit_keras.models.architecture import IMAGES
from vit_keras.models.own_head import describe
from vit_keras.models.wiring import read_model

LARGEST = 2**31 - 2**27  # bytes of weights in a file; protobuf's limit is 2 GiB for everything
_SMALLEST = 1024  # bytes of a weight that goes to the file beside it: shapes and axes stay
_PAGE = 4096  # bytes


class OnnxFormat(Format):
    """An ONNX file: uint8 pixels in, any number of images; one file, and from 2 GB on a second with the weights."""

    name = "onnx"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "float16", "int8")
    options = ("softmax", "dynamic_image_size", "outputs", "opset")

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the graph, checks it, and rounds its weights if that is asked for."""
        options, precision = job.options, job.options.precision
        model = write_graph(
            describe_model(job.model), output=job.record.output, more=options.outputs, opset=options.opset
        )
        half = store_in_float16(model) if precision == "float16" else None
        size = weights_size(model)
        before = path if precision == "float32" else float32_beside(path)
        save(model, before)
        if half is not None:
            save(half, path)
        elif precision == "int8":
            is_large = size / 3 > LARGEST  # a quarter of the size, if none is kept in float
            if options.quantization == "dynamic":
                quantize_dynamic(before, path, external_data=is_large)
            else:
                quantize_static(before, path, choose_calibration(job.images), external_data=is_large)

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Opens a session on the CPU."""
        session = _open_session(path)
        output = session.get_outputs()[0].name
        return lambda images: session.run([output], {IMAGES: images})[0]

    def write_record(self, record: ExportRecord, path: Path) -> None:
        """Writes the record into `metadata_props`."""
        model = onnx.load(path, load_external_data=False)
        onnx.helper.set_model_props(model, record.to_metadata())
        _write(model, path)

    def read_blocks(self, job: ExportJob, path: Path, images: np.ndarray) -> Mapping[str, np.ndarray] | None:
        """Runs a copy whose outputs are those of the blocks; its weights are where those of the file are."""
        model = onnx.load(path, load_external_data=False)
        names = [f"block_{index:02d}" for index in range(read_model(job.model).config.num_layers)]
        made = {output for node in model.graph.node for output in node.output}
        names = [name for name in names if name in made]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        copy = path.with_name("blocks.onnx")
        _write(model, copy)
        session = _open_session(copy)
        copy.unlink()
        return dict(zip(names, session.run(names, {IMAGES: images}), strict=True))

    def kept_float(self, path: Path) -> tuple[str, ...]:
        """Returns the layers whose products are in floating point, of a file with others in int8."""
        return float_layers(onnx.load(path, load_external_data=False))


def describe_model(model: keras.Model) -> ModelDescription:
    """Returns a plain model as data."""
    parts = read_model(model)
    return ModelDescription(
        config=parts.config,
        weights={name: np.asarray(keras.ops.convert_to_numpy(weight)) for name, weight in parts.weights().items()},
        head_classes=parts.head_classes,
        classifier_activation=parts.classifier_activation,
        own_head=describe(parts.own_head),
        num_outputs=int(model.output_shape[-1]),
    )


def save(model: onnx.ModelProto, path: Path) -> None:
    """Writes a new file and checks it; large weights go to `data_beside(path)` and out of `model`."""
    if weights_size(model) > LARGEST:
        _move_weights(model, data_beside(path))
    _write(model, path)
    onnx.checker.check_model(str(path), full_check=True)


def weights_size(model: onnx.ModelProto) -> int:
    """Returns the bytes of the weights that a model holds."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def _move_weights(model: onnx.ModelProto, path: Path) -> None:
    """Writes the weights of a model to a file, page by page, as runtimes map it to memory; the model keeps their places."""
    with path.open("xb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < _SMALLEST:
                continue
            file.write(bytes(-file.tell() % _PAGE))
            start, length = file.tell(), file.write(tensor.raw_data)
            set_external_data(tensor, path.name, start, length)
            tensor.ClearField("raw_data")


def _write(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def _open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
