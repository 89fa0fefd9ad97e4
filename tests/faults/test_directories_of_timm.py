"""Directories and single files of timm give timm's logits, also where their tensors are those of another computation.

The logits are those of the golden references, which timm computed.
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from backends import forward, some_elsewhere
from safetensors import safe_open
from safetensors.numpy import save_file

import vit_keras as vk
from vit_keras.errors import WeightMismatchError
from vit_keras.weights import load

GOLDEN = Path(__file__).parents[1] / "golden" / "timm"
NAMES = (
    "siglip_384", "so150m_map", "intern300m", "pe_core", "pe_core_gigantic", "pe_lang", "pe_spatial", "pe_spatial_gigantic",
    "mae_gap", "eva02", "eva_enormous_clip", "dpwee_parallel",
)  # fmt: skip


def read(name):
    with safe_open(GOLDEN / f"{name}.safetensors", "numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict
        return tensors, file.metadata()


def write_directory(folder, name, **arguments):
    """Writes a reference as timm's `save_for_hf` does; returns its pixels and logits."""
    tensors, metadata = read(name)
    changes = json.loads(metadata["changes"])
    statistics = {key: json.loads(metadata[key]) for key in ("mean", "std")}
    pretrained = {**statistics, "input_size": [3, *tensors["pixels"].shape[1:3]], "num_classes": 7}
    architecture = metadata["architecture"].split(".")[0]
    described = {"architecture": architecture, "model_args": {**changes, **arguments}, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(described))
    weights = {key.removeprefix("weights/"): array for key, array in tensors.items() if key.startswith("weights/")}
    save_file(weights, folder / "model.safetensors")
    return tensors["pixels"], tensors["logits"]


def predict(model, pixels):
    return keras.ops.convert_to_numpy(forward(model, pixels.astype("float32")))


@pytest.mark.parametrize("name", some_elsewhere(NAMES, every=4))
def test_a_directory_gives_timms_logits(name, tmp_path):
    pixels, logits = write_directory(tmp_path, name)
    np.testing.assert_allclose(predict(vk.from_preset(tmp_path), pixels), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", some_elsewhere(NAMES, every=4))
def test_a_file_alone_gives_timms_logits_with_its_preset(name, tmp_path):
    pixels, logits = write_directory(tmp_path, name)
    path = (tmp_path / "model.safetensors").rename(tmp_path / "alone.safetensors")
    _, metadata = read(name)
    config = json.loads(metadata["config"])
    sizes = ("image_size", "patch_size", "hidden_dim", "num_layers", "num_heads", "mlp_dim", "map_mlp_dim")
    arguments = {size: config[size] for size in sizes if config.get(size) is not None}
    model = vk.from_preset(metadata["architecture"].split(".")[0], weights=path, **arguments)
    np.testing.assert_allclose(predict(model, pixels), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "argument", "changes", "message"),
    [
        ("pe_core", {"rope_grid_offset": 0.0}, {}, r"says rotary_offset=0\.0, and the model has rotary_offset=1\.0"),
        ("pe_core", {"attn_pool_num_heads": 4}, {}, "says num_map_heads=4, and the model has num_map_heads=8"),
        ("so150m_map", {}, {"map_includes_prefix": True}, "trained on features of map_includes_prefix=False"),
        ("intern300m", {}, {"final_norm": "before"}, r"missing: .*final_norm/gamma \(norm.weight\)"),
    ],
)
@pytest.mark.any_backend
def test_a_model_that_computes_something_else_is_refused(name, argument, changes, message, tmp_path):
    write_directory(tmp_path, name, **argument)
    config = vk.ViTConfig.from_dict(json.loads(read(name)[1]["config"])).replace(**changes)
    with pytest.raises(WeightMismatchError, match=message):
        load(vk.vit(config, num_classes=7), tmp_path)


@pytest.mark.any_backend
def test_attention_pooling_of_a_file_alone_leaves_out_prefix_tokens_as_timm_does_and_says_so(tmp_path, caplog):
    pixels, logits = write_directory(tmp_path, "so150m_map")
    path = (tmp_path / "model.safetensors").rename(tmp_path / "alone.safetensors")
    sizes = {"image_size": 32, "patch_size": 8, "hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 61}
    model = vk.from_preset("vit_so150m_patch16_reg4_gap_256", weights=path, **sizes)  # whose preset has another pooling
    np.testing.assert_allclose(predict(model, pixels), logits, rtol=1e-4, atol=1e-4)
    assert "assumed, because the checkpoint does not state it" in caplog.text
    assert "map_includes_prefix=False" in caplog.text


@pytest.mark.any_backend
def test_an_architecture_of_timm_may_include_prefix_tokens_by_itself(tmp_path):
    write_directory(tmp_path, "so150m_map", pool_include_prefix=True)
    assert vk.model_config(vk.from_preset(tmp_path)).map_includes_prefix
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["architecture"] = "test_vit3"  # timm's definition has pool_include_prefix=True
    settings["model_args"] |= {"reg_tokens": 4, "init_values": None, "mlp_ratio": 61.5 / 24}
    del settings["model_args"]["pool_include_prefix"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert vk.model_config(vk.from_preset(tmp_path)).map_includes_prefix
