"""Bundles: a zip file with an ONNX model, all that is known of it, and a short program that runs it."""

import contextlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from vit_keras.errors import InvalidArgumentError
from vit_keras.exporting.base import ExportJob, Format, Runtime, float32_beside
from vit_keras.exporting.bundle_script import predict_script
from vit_keras.exporting.onnx.onnx_format import OnnxFormat
from vit_keras.exporting.options import Precision
from vit_keras.exporting.record import LABELS, RECORD, ExportRecord
from vit_keras.exporting.target import data_beside

MODEL, SCRIPT, CARD, LICENSE, REQUIREMENTS = "model.onnx", "predict.py", "README.md", "LICENSE.txt", "requirements.txt"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip
_LICENSE = """License of the weights that this model was made from: {license}
{source}
The model's own license is for whoever trained it to choose, within what that license allows.
"""


class BundleFormat(Format):
    """A zip file: `model.onnx`, `export.json`, class names, preprocessing, license, model card, and `predict.py`."""

    name = "bundle"
    precisions: ClassVar[tuple[Precision, ...]] = OnnxFormat.precisions
    options = ("softmax", "opset")

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the model and its files."""
        record = job.record
        if record.output == "features":
            raise InvalidArgumentError(
                "The model has no head, so the program of a bundle would have no classes to print: export it as .onnx."
            )
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            model = Path(folder, MODEL)
            OnnxFormat().write(job, model)
            _pack(path, {**_model_files(model), **_files(job)})
            before = float32_beside(model)
            if before.exists():
                _pack(float32_beside(path), _model_files(before))

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Opens the model in it with onnxruntime."""
        with _unpacked(path) as model:
            return OnnxFormat().open(model, job)

    def write_record(self, record: ExportRecord, path: Path) -> None:
        """Writes the record into `export.json`, and into the model's metadata."""
        with zipfile.ZipFile(path) as file:
            files: dict[str, bytes | Path] = {name: file.read(name) for name in file.namelist() if not _is_model(name)}
        with _unpacked(path) as model:
            OnnxFormat().write_record(record, model)
            _pack(path, {**_model_files(model), **files, RECORD: record.to_json(indent=2).encode() + b"\n"})

    def read_blocks(self, job: ExportJob, path: Path, images: np.ndarray) -> Mapping[str, np.ndarray] | None:
        """Returns the output of each block of the model in it."""
        with _unpacked(path) as model:
            return OnnxFormat().read_blocks(job, model, images)

    def kept_float(self, path: Path) -> tuple[str, ...]:
        """Returns the layers of an int8 model that were kept in floating point."""
        with _unpacked(path) as model:
            return OnnxFormat().kept_float(model)


def _files(job: ExportJob) -> dict[str, bytes | Path]:
    """Returns the files beside the model, by name."""
    record = job.record
    source = f"Preset: {record.preset}" if record.preset else "It is not known which weights these were."
    texts = {
        SCRIPT: predict_script(record),
        REQUIREMENTS: "numpy\npillow\nonnxruntime\n",
        LABELS: record.to_labels(),
        "labels.json": json.dumps(record.class_names, indent=2) + "\n",
        "preprocessing.json": json.dumps(record.preprocessing, indent=2) + "\n",
        LICENSE: _LICENSE.format(license=record.license or "unknown", source=source),
        CARD: job.card,
        RECORD: record.to_json(indent=2) + "\n",
    }
    return {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}


def _model_files(model: Path) -> dict[str, bytes | Path]:
    """Returns an ONNX file as `MODEL`, and the weights beside it under the name that it knows them by."""
    data = data_beside(model)
    return {MODEL: model, **({data.name: data} if data.exists() else {})}


def _is_model(name: str) -> bool:
    return name == MODEL or name.endswith(".data")


def _pack(path: Path, files: Mapping[str, bytes | Path]) -> None:
    """Writes a zip file of contents and files by name; weights hardly compress."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16  # permissions
            entry.compress_type = zipfile.ZIP_STORED if _is_model(name) else zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=_is_model(name)) as file:
                if isinstance(content, bytes):
                    file.write(content)
                    continue
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file)


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yields the path of the model of a bundle, which is there inside the block."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, zipfile.ZipFile(path) as file:
        file.extractall(folder, filter(_is_model, file.namelist()))
        yield Path(folder, MODEL)
