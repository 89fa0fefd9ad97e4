"""Converts a model to LiteRT with TensorFlow's converter, and reads which operators the file uses."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from vit_keras.errors import VitKerasError
from vit_keras.exporting.conversion.serving_graph import SERVING, save
from vit_keras.zoo.load_model import OpenModel

_REASON = re.compile(r"error: (?:loc\(.*\): )?(.*)")  # without the place in the program
_LONGEST = 300  # characters of a reason


def convert(
    opened: OpenModel, path: Path, *, output: str, precision: str, images: np.ndarray | None, log: Path
) -> list[str]:
    """Writes a LiteRT file, and returns the names of its operators.

    Args:
        opened: The model, on TensorFlow.
        path: The new file.
        output: Name of the output: what `ExportRecord.output` says.
        precision: "float32", "float16" or "int8", of the weights.
        images: For int8 activations: what their ranges are measured on, `(images, height, width, channels)`, uint8; None rounds them by the
            range of each batch, while the file runs.
        log: The file that the native code of this process writes its messages to.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "saved")
        save(opened, saved, output=output, with_files=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[SERVING])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if images is not None:
            converter.representative_dataset = lambda: _one_by_one(images)
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises several kinds, whose text is the whole program
            raise VitKerasError(f"LiteRT could not convert the model: {_find_reason(log, error)}") from error
    operators = read_operators(content)
    path.write_bytes(content)
    return operators


def _one_by_one(images: Any) -> Iterator[list[np.ndarray]]:
    for image in images:
        yield [image[None]]


def _find_reason(log: Path, error: Exception) -> str:
    """Returns what the converter's native code said, in its log or before the program that is the error's text."""
    said = log.read_text("utf-8", "replace") if log.is_file() else ""
    messages = _REASON.findall(said) or _REASON.findall(str(error)) or str(error).split("\n", 1)
    return messages[0][:_LONGEST].strip() or type(error).__name__


def read_operators(content: bytes) -> list[str]:
    """Returns the names of the operators that a LiteRT file uses; raises `VitKerasError` where one is not built in."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    custom = sorted(code.CustomCode().decode() for code in codes if code.CustomCode())
    if custom:
        raise VitKerasError(f"The LiteRT file would need the operators {custom}, which are not built into LiteRT.")
    # Codes above 127 are in the newer of the two fields.
    return sorted(names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes)
