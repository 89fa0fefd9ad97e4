"""OpenCLIP's directories give OpenCLIP's outputs; its files alone, those of the preset that is chosen for them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import vit_keras as vk
from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.weights import load

GOLDEN = Path(__file__).parents[2] / "golden" / "libraries" / "open_clip"
NAMES = ["gelu", "quick_gelu", "changed"]
SIZES = {"image_size": 32, "patch_size": 8, "hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48}


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(GOLDEN / "quick_gelu", tmp_path / "clip"))


def change_config(folder, **changes):
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"].update(changes)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_gives_openclips_outputs(name):
    reference = load_file(GOLDEN / f"{name}.safetensors")
    model = vk.from_preset(GOLDEN / name)
    found = model.predict(reference["pixels"], verbose=0)
    np.testing.assert_allclose(found, reference["logits"], rtol=1e-4, atol=1e-4)
    preprocessing = vk.load_preprocessing(GOLDEN / name)
    assert (preprocessing.image_size, preprocessing.crop_mode) == ((32, 32), "center")


def test_a_preset_takes_the_activation_from_the_file_beside_the_weights(caplog):
    reference = load_file(GOLDEN / "quick_gelu.safetensors")
    path = GOLDEN / "quick_gelu" / "open_clip_model.safetensors"
    model = vk.from_preset("vit_base_patch16_clip_224", weights=path, **SIZES)
    np.testing.assert_allclose(model.predict(reference["pixels"], verbose=0), reference["logits"], rtol=1e-4, atol=1e-4)
    assert "activation='quick_gelu'" in caplog.text
    assert "assumed" not in caplog.text


def test_without_it_the_presets_activation_is_assumed_by_name(folder):
    (folder / "open_clip_config.json").unlink()
    path = folder / "open_clip_model.safetensors"
    for preset, activation in (("_clip_224", "gelu"), ("_clip_quickgelu_224", "quick_gelu")):
        config = vk.load_preset(f"vit_base_patch16{preset}").config.replace(**SIZES)
        assert f"activation='{activation}'" in load(vk.vit(config, num_classes=5), path).assumptions


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"attentional_pool": True}, InvalidArgumentError, r"vision_cfg has attentional_pool"),
        ({"pool_type": "none"}, InvalidArgumentError, "layers or pool_type"),
        ({"layers": [3, 4, 6, 3]}, InvalidArgumentError, "layers or pool_type"),
        ({"width": "wide"}, CorruptFileError, "a field that is no number"),
        ({"timm_model_name": "convnext_base"}, InvalidArgumentError, "'convnext_base' is no preset"),
    ],
)
def test_other_image_towers_are_refused(folder, changes, error, message):
    change_config(folder, **changes)
    with pytest.raises(error, match=message):
        vk.from_preset(folder)


def test_a_damaged_config_is_refused(folder):
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 5}}))
    with pytest.raises(CorruptFileError, match='expected a JSON object with "model_cfg", and "vision_cfg" in it'):
        vk.from_preset(folder)


def test_info_says_what_the_directory_is():
    info = vk.checkpoint_info(GOLDEN / "gelu")
    assert (info["what"], info["library"], info["num_classes"]) == ("a directory of OpenCLIP", "meta", 5)
