"""KerasHub's preset directories are read as data: its own model's logits, nothing imported, no link followed."""

import json
import shutil
import sys

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file
from weights.mappings.libraries.test_libraries import GOLDEN

import vit_keras as vk
from vit_keras.errors import CorruptFileError, InvalidArgumentError, UnsafeFileError
from vit_keras.models.vit import model_config, model_num_classes
from vit_keras.weights import open_tensors

NAMES = ("keras_hub", "keras_hub_pre_logits")


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(GOLDEN / "keras_hub", tmp_path / "preset")


def change(path, **values):
    content = json.loads(path.read_text())
    content["config"] |= values
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_directory_computes_kerashubs_logits(name):
    reference = load_file(GOLDEN / f"{name}.safetensors")
    for model in (vk.from_preset(GOLDEN / name), vk.load_model(GOLDEN / name)):
        np.testing.assert_allclose(
            model.predict(reference["pixels"], verbose=0), reference["logits"], rtol=1e-4, atol=1e-4
        )
    config = model_config(model)
    assert (config.norm_epsilon, config.num_heads, config.pre_logits_dim) == (1e-5, 2, 16 if "pre" in name else None)
    rule = vk.load_preprocessing(GOLDEN / name)
    assert (rule.image_size, rule.crop_mode, rule.interpolation) == ((32, 32), "center", "bilinear")
    assert "keras_hub" not in sys.modules


def test_a_directory_gives_other_heads_activations_and_backbones(folder):
    change(folder / "task.json", activation="softmax")
    reference = load_file(GOLDEN / "keras_hub.safetensors")
    shares = np.exp(reference["logits"] - reference["logits"].max(-1, keepdims=True))
    found = vk.from_preset(folder).predict(reference["pixels"], verbose=0)
    np.testing.assert_allclose(found, shares / shares.sum(-1, keepdims=True), rtol=1e-3, atol=1e-5)
    assert vk.from_preset(folder, num_classes=3).output_shape == (None, 3)
    assert vk.from_preset("vit_tiny_patch16_224", weights=folder, **_sizes()).output_shape == (None, 5)
    for name in ("task.json", "task.weights.h5", "preprocessor.json"):
        (folder / name).unlink()
    assert model_num_classes(vk.from_preset(folder)) is None


def _sizes():
    return {"image_size": 32, "patch_size": 8, "num_layers": 2, "hidden_dim": 24, "mlp_dim": 48}


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("config.json", {"use_mha_bias": False}, "layers with biases"),
        ("config.json", {"patch_size": [8, 16]}, "square patches"),
        ("config.json", {"image_shape": [32]}, "missing or illegal"),
        ("task.json", {"pooling": "gap"}, "pooling='gap' with use_class_token=True"),
        ("image_converter.json", {"scale": "big"}, "scale and offset are not numbers"),
        ("image_converter.json", {"scale": 0}, "scale and offset are not numbers"),
    ],
)
def test_settings_that_are_not_built_or_illegal_are_named(folder, file, values, message):
    change(folder / file, **values)
    with pytest.raises((InvalidArgumentError, CorruptFileError), match=message):
        vk.from_preset(folder)


def test_other_models_of_kerashub_and_a_lone_weights_file_are_named(folder):
    with pytest.raises(UnsafeFileError, match=r"weights are not read from \.h5.*The folder of a KerasHub preset"):
        open_tensors(folder / "model.weights.h5")
    config = json.loads((folder / "config.json").read_text()) | {"class_name": "GemmaBackbone"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidArgumentError, match="only ViTBackbone can be read; this is GemmaBackbone"):
        vk.from_preset(folder)


def test_links_and_data_that_are_not_plain_are_refused(folder, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(4, "float32")
    virtual = h5py.VirtualLayout((4,), "float32")
    virtual[:] = h5py.VirtualSource(secret, "x", (4,))
    hostile = {
        "external link": lambda file: file.__setitem__("x", h5py.ExternalLink(secret, "/x")),
        "soft link": lambda file: file.__setitem__("x", h5py.SoftLink("/layers")),
        "external data": lambda file: file.create_dataset("x", (4,), "float32", external=[(str(secret), 0, 16)]),
        "virtual": lambda file: file.create_virtual_dataset("x", virtual),
        "compressed": lambda file: file.create_dataset("x", (2**28,), "float32", chunks=(2**16,), compression="gzip"),
        "strings": lambda file: file.create_dataset("x", (2,), h5py.string_dtype()),
        "cycle": lambda file: file.__setitem__("layers/again", file["/"]),
    }
    original = (folder / "model.weights.h5").read_bytes()
    for name, spoil in hostile.items():
        (folder / "model.weights.h5").write_bytes(original)
        with h5py.File(folder / "model.weights.h5", "a") as file:
            spoil(file)
        with pytest.raises(UnsafeFileError, match=r"is a link|no plain array|too many or too deep"):
            open_tensors(folder)
        assert name
    with h5py.File(folder / "model.weights.h5", "w") as file:
        file.create_dataset("layers/x", (2**40,), "float32")  # contiguous, and never written
    with pytest.raises(CorruptFileError, match="other than its number of bytes"):
        open_tensors(folder)


@pytest.mark.parametrize("size", [0, 100, 50_000])
def test_a_truncated_file_is_refused(folder, size):
    path = folder / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptFileError, match=r"model\.weights\.h5"):
        vk.from_preset(folder)
