"""SavedModel: a directory that TensorFlow, TensorFlow Serving and TensorFlow.js's converter open."""

import contextlib
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np

from vit_keras.errors import VerificationError
from vit_keras.exporting.base import ExportJob, Format, Runtime
from vit_keras.exporting.conversion import tensorflow_alone
from vit_keras.exporting.conversion.process import run_in_tensorflow
from vit_keras.exporting.record import LABELS, RECORD, ExportRecord

_LAST_WORDS = 500  # characters


class SavedModelFormat(Format):
    """A SavedModel with the signatures `serving_default`, for pixels, and `serve_bytes`, for JPEG and PNG files."""

    name = "savedmodel"

    def __init__(self) -> None:
        self._runtimes: dict[Path, TensorFlowAlone] = {}

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the directory, in a TensorFlow process."""
        with tempfile.TemporaryDirectory(prefix="vit-keras-") as folder:
            assets = {"export_record": Path(folder, RECORD), "labels": Path(folder, LABELS)}
            assets["export_record"].write_text(job.record.to_json(indent=2) + "\n", "utf-8")
            assets["labels"].write_text(job.record.to_labels(), "utf-8")
            run_in_tensorflow(
                job.opened,
                {
                    "format": self.name,
                    "target": str(path),
                    "output": job.record.output,
                    "assets": {name: str(file) for name, file in assets.items()},
                },
            )

    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Loads it in a process with TensorFlow alone, which a second call uses again."""
        if path not in self._runtimes:
            self._runtimes[path] = TensorFlowAlone(path)
        return self._runtimes[path]

    def write_record(self, record: ExportRecord, path: Path) -> None:
        """Replaces the record in the assets."""
        (path / "assets" / RECORD).write_text(record.to_json(indent=2) + "\n", "utf-8")


class TensorFlowAlone:
    """A SavedModel in another process, which has TensorFlow but neither Keras nor vit_keras.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", tensorflow_alone.__file__, str(path.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": "-1"},
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._process, self._log)
        self.signatures: tuple[str, ...] = tuple(self._receive().tolist())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the output of the signature `serving_default`."""
        with contextlib.suppress(BrokenPipeError):  # the process has ended; the answer says why
            tensorflow_alone.send_array(self._process.stdin, images)  # type: ignore[arg-type]  # a pipe
        return self._receive()

    def _receive(self) -> np.ndarray:
        received = tensorflow_alone.receive_array(self._process.stdout)  # type: ignore[arg-type]  # a pipe
        if received is None:
            self._log.seek(0)
            words = self._log.read().decode("utf-8", "replace")[-_LAST_WORDS:].strip()
            raise VerificationError(f"TensorFlow alone could not run the SavedModel: {words or 'its process ended'}")
        return received


def _end(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    process.kill()
    process.communicate()
    log.close()
