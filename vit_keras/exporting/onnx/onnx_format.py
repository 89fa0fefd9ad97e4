"""ONNX files: written by vit_keras, and run by onnxruntime."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import onnx
import onnxruntime

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.exporting.base import ExportJob, Format, Runtime, float32_beside
from vit_keras.exporting.onnx.half_precision import store_in_float16
from vit_keras.exporting.onnx.quantization import float_layers, quantize_dynamic, quantize_static
from vit_keras.exporting.onnx.writer import ModelDescription, write_graph
from vit_keras.exporting.options import Precision
from vit_keras.exporting.quantize import choose_calibration
from vit_keras.exporting.record import ExportRecord
from vit_keras.models.architecture import IMAGES
from vit_keras.models.own_head import describe
from vit_keras.models.wiring import read_model

_LARGEST = 2**31 - 2**27  # bytes; protobuf's limit is 2 GiB


class OnnxFormat(Format):
    """An ONNX file: uint8 pixels in, any number of images, one file that holds everything."""

    name = "onnx"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "float16", "int8")
    options = ("softmax", "dynamic_image_size", "outputs", "opset")

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the graph, checks it, and rounds its weights if that is asked for."""
        options, precision = job.options, job.options.precision
        model = write_graph(
            describe_model(job.model), output=job.record.output, more=options.outputs, opset=options.opset
        )
        _check_size(model, precision)
        onnx.checker.check_model(model, full_check=True)
        if precision == "float32":
            save(model, path)
            return
        before = float32_beside(path)
        save(model, before)
        if precision == "float16":
            save(store_in_float16(model), path)
        elif options.quantization == "dynamic":
            quantize_dynamic(before, path)
        else:
            quantize_static(before, path, choose_calibration(job.images))

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Opens a session on the CPU."""
        session = _open_session(path.read_bytes())
        output = session.get_outputs()[0].name
        return lambda images: session.run([output], {IMAGES: images})[0]

    def write_record(self, record: ExportRecord, path: Path) -> None:
        """Writes the record into `metadata_props`."""
        model = onnx.load(path)
        onnx.helper.set_model_props(model, record.to_metadata())
        save(model, path)

    def read_blocks(self, job: ExportJob, path: Path, images: np.ndarray) -> Mapping[str, np.ndarray] | None:
        """Runs a copy whose outputs are those of the blocks."""
        model = onnx.load(path)
        names = [f"block_{index:02d}" for index in range(read_model(job.model).config.num_layers)]
        made = {output for node in model.graph.node for output in node.output}
        names = [name for name in names if name in made]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        session = _open_session(model.SerializeToString())
        return dict(zip(names, session.run(names, {IMAGES: images}), strict=True))

    def kept_float(self, path: Path) -> tuple[str, ...]:
        """Returns the layers whose products are in floating point, of a file with others in int8."""
        return float_layers(onnx.load(path))


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
    """Writes a model as one file.

    Raises:
        StorageError: It can't be written.
    """
    try:
        path.write_bytes(model.SerializeToString())
    except OSError as error:
        raise StorageError(f"{path.parent}: the ONNX file could not be written ({error}).") from error


def read_record(path: str | Path) -> ExportRecord | None:
    """Returns what travels with an ONNX file; None for one that `vk.export` did not write."""
    return ExportRecord.from_metadata(
        {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    )


def _check_size(model: onnx.ModelProto, precision: str) -> None:
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > _LARGEST:
        raise InvalidArgumentError(
            f"The weights are {size / 1e9:.1f} GB in float32, and an ONNX file holds at most 2 GiB: export a SavedModel, or a smaller model."
        )


def _open_session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
