"""The embedded weights, from a user's side: offline, on every backend."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from backends import some_elsewhere
from safetensors.numpy import load_file

import vit_keras as vk
from vit_keras.errors import CorruptFileError
from vit_keras.presets import preset as presets

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def emoji():
    with np.load(Path(vk.__file__).parent / "data" / "emoji.npz") as arrays:
        return arrays["images"][arrays["style_names"][arrays["styles"]] == "twemoji"]


@pytest.mark.parametrize("side", some_elsewhere([32, 64], every=2))
def test_their_logits_are_those_recorded_and_those_of_numpy(side, emoji, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_OFFLINE", "1")
    name = f"vit_nano_conv8_{side}"
    model = vk.from_preset(name, weights="drawings")
    with np.load(GOLDEN / f"{name}_drawings.npz") as recorded:
        images, logits = emoji[recorded["indices"]].repeat(side // 32, 1).repeat(side // 32, 2), recorded["logits"]
    found = model.predict(images, verbose=0)
    np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-3)
    stored = load_file(vk.load_preset(name).weights["drawings"].directory / "model.safetensors")
    assert {value.dtype.name for value in stored.values()} == {"float16"}
    weights = {path: value.astype("float64") for path, value in stored.items()}
    np.testing.assert_allclose(found, oracle.vit(vk.load_preset(name).config, weights, images), rtol=1e-3, atol=1e-3)


@pytest.mark.any_backend
def test_a_prediction_has_class_names(emoji):
    grinning, name = emoji[0], "vit_nano_conv8_32:drawings"
    (found,) = vk.predict(name, [grinning], top=3)
    assert "face-smiling" in found.classes
    names = vk.from_preset(name).class_names
    assert (len(names), set(found.classes) < set(names)) == (96, True)
    assert vk.from_preset("vit_nano_conv8_32", weights="drawings", num_classes=3).output_shape == (None, 3)


@pytest.mark.any_backend
def test_a_damaged_file_in_the_package_is_found(tmp_path, monkeypatch):
    directory = vk.load_preset("vit_nano_conv8_32").weights["drawings"].directory
    copy = tmp_path / "embedded" / directory.name
    copy.mkdir(parents=True)
    for path in directory.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setattr(presets, "__file__", str(tmp_path / "preset.py"))
    with pytest.raises(CorruptFileError, match="damaged or was replaced"):
        vk.from_preset("vit_nano_conv8_32", weights="drawings")
