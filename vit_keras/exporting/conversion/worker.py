"""The TensorFlow process of `run_in_tensorflow`: `python -m vit_keras.exporting.conversion.worker LOG`."""

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vit_keras.errors import VitKerasError
from vit_keras.runtime.worker_process import ParentConnection


def main() -> None:
    """Answers one request."""
    # Before Keras is imported. The parent may hold the GPU's memory, and a conversion needs none.
    os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    parent = ParentConnection(Path(sys.argv[1]))
    request = parent.receive()
    try:
        parent.send(answer(request))
    except VitKerasError as error:
        parent.send({"error": str(error)})
    except Exception as error:
        traceback.print_exc()
        parent.send({"error": f"TensorFlow could not convert the model: {type(error).__name__}: {error}"[:1000]})


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the file of a request, and returns what was found out about it.

    The request has `format`, "savedmodel" or "tflite"; `model`, a preset directory; `target`, the path to write; `output`, the name of the
    output; `assets` of a SavedModel; of LiteRT `precision`, `log`, and, or None, `images` and `float32_target`, a second file in float32.
    """
    import numpy as np

    from vit_keras.exporting.conversion import litert_conversion, serving_graph
    from vit_keras.models.vit import model_config
    from vit_keras.zoo.load_model import open_model
    from vit_keras.zoo.rebuild import rebuild

    opened, target = open_model(request["model"]), Path(request["target"])
    if request["format"] == "savedmodel":
        assets = {name: Path(file) for name, file in request["assets"].items()}
        serving_graph.save(opened, target, output=request["output"], assets=assets)
        return {}
    if model_config(opened.model).dynamic_image_size:
        opened = replace(opened, model=rebuild(opened.model, dynamic_image_size=False))
    output, log = request["output"], Path(request["log"])
    if request["float32_target"]:  # to compare its speed
        beside = Path(request["float32_target"])
        litert_conversion.convert(opened, beside, output=output, precision="float32", images=None, log=log)
    images = np.load(request["images"]) if request["images"] else None
    operators = litert_conversion.convert(
        opened, target, output=output, precision=request["precision"], images=images, log=log
    )
    return {"operators": operators}


if __name__ == "__main__":
    main()
