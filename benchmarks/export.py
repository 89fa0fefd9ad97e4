"""S/16 exported by us, timm and optimum: size and speed in onnxruntime, and of int8 in LiteRT; int8 accuracy on emoji and Fashion-MNIST.

Needs `pip install 'vit-keras-zoo[export]'`. `--peers PYTHON` is a Python with timm, onnx, onnxruntime and onnxscript, `--optimum PYTHON`
one with optimum-onnx and the transformers that it asks for. Parts that are not asked for keep their earlier results.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import harness
import numpy as np

PRESET, SMALL = "vit_small_patch16_224", "vit_tiny_patch16_224"  # timm's names, too

TIMM = """
import sys, timm, torch
from timm.utils.onnx import onnx_export
name, path = sys.argv[1:]
model = timm.create_model(name, pretrained=False, num_classes=1000, exportable=True)
onnx_export(model, path, opset=20, dynamic_size=False, check=False, input_size=(3, 224, 224), batch_size=1)
"""


OPTIMUM = """
import sys
from pathlib import Path
from transformers import ViTConfig, ViTForImageClassification
from optimum.exporters.onnx import onnx_export_from_model
width, heads, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
config = ViTConfig(hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width, num_labels=1000)
onnx_export_from_model(ViTForImageClassification(config).eval(), folder, opset=20, task="image-classification", do_validation=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="PYTHON", help="compare with timm")
    parser.add_argument("--optimum", metavar="PYTHON", help="compare with optimum")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--skip", nargs="*", default=[], choices=["onnx", "litert"], help="parts to leave as they are")
    parser.add_argument(
        "--runs", nargs="*", default=[], metavar="RUN", help="run directories whose int8 accuracy is measured"
    )
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    name = SMALL if options.quick else PRESET
    earlier = harness.read_earlier("export")
    result: dict[str, Any] = {key: earlier.get(key, {}) for key in ("accuracy", name, "litert")}
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        if "onnx" not in options.skip:
            result[name] = compare(name, Path(folder), options.peers, options.optimum, rounds)
        if "litert" not in options.skip:
            result["litert"] = {name: compare_litert(name, Path(folder), rounds)}
        for run in options.runs:
            result["accuracy"][Path(run).name] = measure_accuracy(run, Path(folder))
    harness.record("export", result, quick=options.quick)


def make_model(name: str) -> tuple[Any, np.ndarray]:
    """Returns a model with random weights, and an image for it."""
    import vit_keras as vk

    model = vk.from_preset(name, num_classes=1000)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.02, size=weight.shape))
    return model, rng.integers(0, 256, (1, *vk.model_config(model).image_shape), "uint8")


def compare(name: str, folder: Path, peers: str | None, optimum: str | None, rounds: int) -> dict[str, Any]:
    """Returns sizes, and median processor seconds of one image in one thread of onnxruntime, taken in turns."""
    import vit_keras as vk

    model, images = make_model(name)
    files = {precision: folder / f"{name}-{precision}.onnx" for precision in ("float32", "float16", "int8")}
    for precision, path in files.items():
        vk.export(model, path, precision=precision)
    weights = sum(4 * int(np.prod(weight.shape)) for weight in model.weights)
    inputs = dict.fromkeys(files, images)
    if peers:
        files["timm"] = folder / f"{name}-timm.onnx"
        subprocess.run([peers, "-c", TIMM, name, files["timm"]], check=True, stdout=sys.stderr)
        inputs["timm"] = ((images.transpose(0, 3, 1, 2) / 127.5) - 1).astype("float32")
    if optimum:
        config = vk.model_config(model)
        command = [optimum, "-c", OPTIMUM, str(config.hidden_dim), str(config.num_heads), str(folder / "optimum")]
        subprocess.run(command, check=True, stdout=sys.stderr)
        files["optimum"] = folder / "optimum" / "model.onnx"
        inputs["optimum"] = ((images.transpose(0, 3, 1, 2) / 127.5) - 1).astype("float32")
    sizes = {kind: file_size(path) for kind, path in files.items()}
    seconds = processor_seconds({kind: runner(path, inputs[kind]) for kind, path in files.items()}, rounds=rounds)
    return {
        "weights_bytes": weights,
        "file_bytes": sizes,
        "float32_file_per_weights": sizes["float32"] / weights,
        **summarize(seconds),
    }


def compare_litert(name: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Returns sizes, and median processor seconds of one image in one thread of ai-edge-litert, taken in turns."""
    import vit_keras as vk

    model, images = make_model(name)
    files = {precision: folder / f"{name}-{precision}.tflite" for precision in ("float32", "int8")}
    for precision, path in files.items():
        vk.export(model, path, precision=precision)
    steps = {precision: litert_runner(path, images) for precision, path in files.items()}
    return {
        "file_bytes": {precision: path.stat().st_size for precision, path in files.items()},
        **summarize(processor_seconds(steps, rounds=rounds)),
    }


def summarize(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Returns the median seconds of each file, and how fast it is compared with float32."""
    medians = {kind: harness.spread(each) for kind, each in seconds.items()}
    ratios = {
        f"{kind}_speed_of_float32": medians["float32"]["median"] / medians[kind]["median"]
        for kind in medians
        if kind != "float32"
    }
    return {"processor_seconds": medians, **ratios}


def processor_seconds(steps: dict[str, Any], *, rounds: int) -> dict[str, list[float]]:
    """Returns the processor time of each step per round, taken in turns: other work on the machine hardly changes it."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    return seconds


def file_size(path: Path) -> int:
    """Returns the bytes of a file, with its external data."""
    data = path.with_name(path.name + ".data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


def runner(path: Path, images: np.ndarray) -> Any:
    """Returns a function that runs a file once, in one thread that does not wait busily."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})


def litert_runner(path: Path, images: np.ndarray) -> Any:
    """Returns a function that runs a LiteRT file once, in one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    return interpreter.invoke


def measure_accuracy(run: str, folder: Path) -> dict[str, Any]:
    """Returns accuracy before and after, agreement and size of the int8 files of a run, on the test images of its data."""
    import json

    import vit_keras as vk

    import_module("vit_keras.exporting.export")._IMAGES["int8"] = (
        sys.maxsize
    )  # all test images, where an export checks on some
    record = json.loads((Path(run) / "run.json").read_text("utf-8"))
    preprocessing = vk.load_preprocessing(run)
    data = vk.data.load(record["options"]["data"], preprocessing=preprocessing)
    found = {}
    for quantization in ("dynamic", "static"):
        path = folder / f"{Path(run).name}-{quantization}.onnx"
        result = vk.export(
            run,
            path,
            precision="int8",
            quantization=quantization,
            calibration=data.splits["test"],
            max_accuracy_loss=None,
        )
        check = result.verification
        found[quantization] = {
            "images": check.labeled_images,
            "accuracy_before": check.accuracy_before,
            "accuracy_after": check.accuracy_after,
            "agreement": check.agreement,
            "largest_difference": check.largest_difference,
            "bytes": result.size,
            "kept_float": list(result.kept_float),
            "latency_ms": result.latency_ms,
            "latency_before_ms": result.latency_before_ms,
        }
    return found


if __name__ == "__main__":
    main()
