"""Our models give the same numbers as timm, for the same weights and pixels."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from backends import forward, some_elsewhere
from safetensors import safe_open
from safetensors.numpy import save_file

from vit_keras import load_preset, vit
from vit_keras.errors import CorruptFileError, StorageError, WeightMismatchError
from vit_keras.weights import load
from vit_keras.weights.verify import compare, read_reference

GOLDEN = Path(__file__).parents[1] / "golden" / "timm"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.safetensors") if "reference" not in path.name)
# Fields that differ from the preset because of timm, or of the case itself.
CHANGES = {
    "beit_shared": {"relative_position_shared": True, "pooling": "token", "final_norm": "before"},
    "dinov3": {"pooling": "mean"},
    "mae_gap": {"pooling": "mean", "final_norm": "after"},
    "pe_core_gigantic": {"map_mlp_dim": 96},
    "qk_norm": {"qk_norm": True},
    "relpos_table": {"relative_position": "table"},
    "srelpos": {"relative_position_dim": 16},
}


def read(path):
    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118  no dict


def golden_config(name, tensors, metadata):
    """Returns the preset's config at the size of the case."""
    changes = json.loads(metadata["changes"])
    size = changes["img_size"]
    sizes = {
        "num_layers": "depth", "hidden_dim": "embed_dim", "num_heads": "num_heads", "patch_size": "patch_size",
    }  # fmt: skip
    names = ("mlp.fc2", "mlp_out_proj", "out_proj")
    contract = next(tensors[key] for name in names if (key := f"weights/blocks.0.{name}.weight") in tensors)
    is_joined = "weights/blocks.0.out_proj.weight" in tensors  # with the attention's output projection
    return load_preset(metadata["architecture"].split(".")[0]).config.replace(
        image_size=tuple(size) if isinstance(size, list) else size,
        mlp_dim=contract.shape[1] - (contract.shape[0] if is_joined else 0),
        pixel_mean=tuple(json.loads(metadata["mean"])),
        pixel_std=tuple(json.loads(metadata["std"])),
        **{ours: changes[theirs] for ours, theirs in sizes.items() if theirs in changes},
        **CHANGES.get(name, {}),
    )


@pytest.mark.parametrize("name", some_elsewhere(NAMES, every=9))
def test_equals_timm_block_by_block(name, tmp_path):
    tensors, metadata = read(GOLDEN / f"{name}.safetensors")
    config = golden_config(name, tensors, metadata)
    assert read_reference(GOLDEN / f"{name}.safetensors").config == config
    model = vit(config, num_classes=7)
    weights = {key[8:]: np.array(value) for key, value in tensors.items() if key.startswith("weights/")}
    save_file(weights, tmp_path / "model.safetensors")
    notes = load(model, tmp_path / "model.safetensors", source="timm").notes
    is_learned = config.position_embedding == "learned"
    assert len(notes) == (
        is_learned and config.grid_size[0] != config.grid_size[1]
    )  # 3x5 patches and a token could be 4x4 patches
    blocks = [model.get_layer(f"block_{index:02d}").output for index in range(config.num_layers)]
    found = forward(keras.Model(model.input, [*blocks, model.output]), tensors["pixels"])
    expected = [*(tensors[f"block/{index:02d}"] for index in range(config.num_layers)), tensors["logits"]]
    for index, output in enumerate(found):
        output = keras.ops.convert_to_numpy(output)
        np.testing.assert_allclose(output, expected[index], rtol=1e-4, atol=1e-4, err_msg=f"block {index}")


@pytest.mark.parametrize("name", ["google_augreg", "google_big_vision"])
def test_googles_files_give_the_same_logits_as_in_timm(name):
    tensors, _ = read(GOLDEN / f"{name}.reference.safetensors")
    with np.load(GOLDEN / f"{name}.npz") as file:
        hidden_dim = file["embedding/bias"].size
    config = load_preset("vit_tiny_patch16_224").config.replace(
        image_size=64, hidden_dim=hidden_dim, num_layers=2, num_heads=3, mlp_dim=4 * hidden_dim
    )
    model = vit(config, num_classes=7)
    load(model, GOLDEN / f"{name}.npz", source="google")
    logits = keras.ops.convert_to_numpy(model(tensors["pixels"]))
    np.testing.assert_allclose(logits, tensors["logits"], rtol=1e-4, atol=1e-4)


def test_the_first_block_that_differs_is_named():
    reference = read_reference(GOLDEN / "vit_patch8.safetensors")
    model = reference.build()
    assert all(difference.within for difference in compare(model, reference))
    bias = model.get_layer("block_01").mlp.contract.bias
    bias.assign(keras.ops.convert_to_numpy(bias) + 0.01 * np.arange(48) / 47)
    differences = list(compare(model, reference))
    assert [difference.within for difference in differences] == [True, False, False]
    assert differences[1].output == "block 1"
    assert differences[1].largest == pytest.approx(0.01, rel=1e-2)
    with pytest.raises(WeightMismatchError, match=r"The reference has 2 blocks and images of \(64, 64, 3\)"):
        list(compare(model, read_reference(GOLDEN / "clip.safetensors")))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(StorageError, match="there is no such file"):
        read_reference(tmp_path / "nowhere.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CorruptFileError, match="not a complete safetensors file"):
        read_reference(tmp_path / "text.safetensors")
    save_file({"pixels": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CorruptFileError, match="this is not a reference, 'made_by' is missing or wrong"):
        read_reference(tmp_path / "other.safetensors")
