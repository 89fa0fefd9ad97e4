"""Runs a conversion in a TensorFlow process, whatever the backend here is; what native code prints stays out of the terminal."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_keras.errors import VitKerasError
from vit_keras.runtime.worker_process import WorkerDiedError, WorkerProcess
from vit_keras.zoo.load_model import OpenModel
from vit_keras.zoo.save_preset import save_preset

_MODULE = "vit_keras.exporting.conversion.worker"
_LAST_WORDS = 500  # characters


def run_in_tensorflow(opened: OpenModel, request: Mapping[str, Any]) -> dict[str, Any]:
    """Has a model converted, and returns what the process answers.

    Args:
        opened: The model, in float32, on any backend.
        request: For `worker.answer`; the place of the model is added.

    Raises:
        VitKerasError: The conversion failed, with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="vit-keras-") as folder:
        model, log = Path(folder, "model"), Path(folder, "log.txt")
        save_preset(opened.model, model, class_names=opened.class_names or None, preprocessing=opened.preprocessing)
        process = WorkerProcess(_MODULE, [str(log)], user_code=True)
        try:
            process.send({**request, "model": str(model), "log": str(log)})
            answer, _ = process.receive()
        except WorkerDiedError as error:
            words = log.read_text("utf-8", "replace")[-_LAST_WORDS:].strip() if log.is_file() else ""
            raise VitKerasError(
                f"The TensorFlow process that converts the model ended; there may be too little memory. Its last words: {words or 'none'}"
            ) from error
        finally:
            process.kill()
    if "error" in answer:
        raise VitKerasError(answer["error"])
    return answer
