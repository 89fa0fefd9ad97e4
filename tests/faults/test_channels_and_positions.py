"""Kernels and positions of a known model are never guessed from their number; expected values are NumPy's."""

import numpy as np
import pytest
from faults.directories import OURS, write_transformers
from safetensors.numpy import load_file, save_file
from weights.checkpoints import random_weights

import vit_keras as vk
from vit_keras.errors import WeightMismatchError
from vit_keras.weights import AdaptOptions, load
from vit_keras.weights.adapt.resize import resize_positions

pytestmark = pytest.mark.any_backend

KERNEL, POSITIONS = "patch_encoder/projection/kernel", "patch_encoder/position_embedding"
TINY = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}


def saved(folder, **sizes):
    """Returns a model with random weights, saved as `own`, and its weights."""
    config = vk.ViTConfig(**TINY, **sizes)
    model, weights = vk.vit(config), random_weights(config, None)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    vk.save_preset(model, folder / "own")
    return model, weights


def weight_of(model, name):
    return next(np.asarray(weight.numpy()) for weight in model.weights if weight.path == name)


def expected_kernel(kernel, before, after):
    """Returns the kernel by timm's rule: the sum for one channel, else repeated and scaled."""
    cells = kernel.reshape(-1, before, kernel.shape[-1])
    if after == 1:
        return cells.sum(1, keepdims=True).reshape(-1, kernel.shape[-1])
    repeated = np.concatenate([cells] * -(-after // before), axis=1)[:, :after]
    return (repeated * (before / after)).reshape(-1, kernel.shape[-1])


@pytest.mark.parametrize(("before", "after"), [(12, 3), (4, 1), (1, 4), (3, 27)])
def test_other_channels_are_not_mistaken_for_another_patch_size(tmp_path, before, after):
    patch = 12 if 27 in (before, after) else 4
    model, weights = saved(tmp_path, image_size=2 * patch, patch_size=patch, channels=before)
    expected = expected_kernel(weights[KERNEL], before, after)
    for changed in (vk.from_preset(tmp_path / "own", channels=after), vk.rebuild(model, channels=after)):
        np.testing.assert_allclose(weight_of(changed, KERNEL), expected, rtol=1e-5, atol=1e-6)


def test_a_kernel_of_equal_size_by_coincidence_is_converted_too(tmp_path):
    _, weights = saved(tmp_path, image_size=16, patch_size=8)
    changed = vk.from_preset(tmp_path / "own", channels=12, patch_size=4)
    assert weight_of(changed, KERNEL).shape == weights[KERNEL].shape
    assert not np.allclose(weight_of(changed, KERNEL), weights[KERNEL])


def test_an_ambiguous_kernel_needs_patch_size(tmp_path):
    config = vk.ViTConfig(image_size=16, patch_size=8, channels=3, **TINY)
    weights = random_weights(config, None)
    save_file(weights, tmp_path / "bare.safetensors")
    model = vk.vit(config.replace(channels=12))
    with pytest.raises(
        WeightMismatchError, match="for other channels, another patch size, or both: give the file's patch_size"
    ):
        load(model, tmp_path / "bare.safetensors")
    load(model, tmp_path / "bare.safetensors", adapt=AdaptOptions(patch_size=8))
    np.testing.assert_allclose(weight_of(model, KERNEL), expected_kernel(weights[KERNEL], 3, 12), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (32, 8), (24, 24)])
def test_positions_of_a_rectangular_grid_keep_rows_and_columns(tmp_path, size):
    model, weights = saved(tmp_path, image_size=(8, 32), patch_size=4)
    front, patches = weights[POSITIONS][:, :1], weights[POSITIONS][:, 1:]
    resized = resize_positions(patches, before=(2, 8), after=(size[0] // 4, size[1] // 4), rule="bicubic_antialias")
    expected = np.concatenate([front, resized], axis=1)
    for changed in (vk.from_preset(tmp_path / "own", image_size=size), vk.rebuild(model, image_size=size)):
        np.testing.assert_allclose(weight_of(changed, POSITIONS), expected, rtol=1e-5, atol=1e-6)
        for name in weights.keys() - {POSITIONS}:
            np.testing.assert_array_equal(weight_of(changed, name), weights[name])


@pytest.mark.filterwarnings("ignore")
def test_positions_of_transformers_are_resized_as_in_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = write_transformers(tmp_path / "wide", "ViTModel", "ViTConfig", image_size=[16, 64])
    positions = load_file(tmp_path / "wide" / "model.safetensors")["embeddings.position_embeddings"]
    grid = torch.from_numpy(positions[:, 1:].reshape(1, 2, 8, 24).transpose(0, 3, 1, 2))
    resized = torch.nn.functional.interpolate(grid, size=(4, 4), mode="bicubic", align_corners=False)
    expected = np.concatenate([positions[:, :1], resized.numpy().transpose(0, 2, 3, 1).reshape(1, 16, 24)], axis=1)
    assert theirs.config.image_size == [16, 64]
    changed = vk.from_preset(tmp_path / "wide", image_size=32)
    np.testing.assert_allclose(weight_of(changed, POSITIONS), expected, rtol=1e-4, atol=1e-5)
    named = vk.from_preset("vit_tiny_patch16_224", weights=tmp_path / "wide", **{**OURS, "image_size": 32})
    np.testing.assert_allclose(weight_of(named, POSITIONS), expected, rtol=1e-4, atol=1e-5)
