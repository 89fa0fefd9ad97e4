"""LiteRT (`.tflite`): a file for phones and small computers, with builtin operators only."""

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.errors import VerificationError
from vit_keras.exporting.base import ExportJob, Format, Runtime, float32_beside
from vit_keras.exporting.conversion.process import run_in_tensorflow
from vit_keras.exporting.quantize import choose_calibration
from vit_keras.exporting.record import LABELS, RECORD, ExportRecord


class LiteRTFormat(Format):
    """A LiteRT file. Its record and labels are a zip archive behind the model, as LiteRT's metadata are."""

    name = "tflite"
    precisions = ("float32", "float16", "int8")

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the file, in a TensorFlow process."""
        with tempfile.TemporaryDirectory(prefix="vit-keras-") as folder:
            images = None
            if job.options.quantization == "static":
                images = Path(folder, "images.npy")
                np.save(images, choose_calibration(job.images))
            is_rounded = job.options.precision != "float32"
            run_in_tensorflow(
                job.opened,
                {
                    "format": self.name,
                    "target": str(path),
                    "float32_target": str(float32_beside(path)) if is_rounded else None,
                    "output": job.record.output,
                    "precision": job.options.precision,
                    "images": None if images is None else str(images),
                },
            )

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Loads it with ai-edge-litert."""
        return LiteRTRuntime(path)

    def write_record(self, record: ExportRecord, path: Path) -> None:
        """Appends the record and the labels as a zip archive, which LiteRT skips and every unzip program reads."""
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(RECORD, record.to_json(indent=2) + "\n")
            archive.writestr(LABELS, record.to_labels())


class LiteRTRuntime:
    """A LiteRT file in its own runtime, for any batch size.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=str(path), num_threads=os.cpu_count())
        (self._input,), (self._output,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        for tensor, dtype in ((self._input, np.uint8), (self._output, np.float32)):
            if tensor["dtype"] is not dtype or tensor["quantization"] != (0.0, 0):
                raise VerificationError(
                    f"The LiteRT file takes or returns {np.dtype(tensor['dtype'])} in steps of {tensor['quantization'][0]:g}, where "
                    f"{np.dtype(dtype)} is expected."
                )
        self._shape: tuple[int, ...] | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the output."""
        if images.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input["index"], images.shape)
            self._interpreter.allocate_tensors()
            self._shape = images.shape
        self._interpreter.set_tensor(self._input["index"], images)
        self._interpreter.invoke()
        outputs: np.ndarray = self._interpreter.get_tensor(self._output["index"])
        return outputs
