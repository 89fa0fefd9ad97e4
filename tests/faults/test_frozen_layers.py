"""Frozen layers stay frozen in a `.keras` file, a clone and a config, and the optimizer keeps its state."""

import keras
import numpy as np
import pytest
from contracts import JIT, check_stays_frozen

import vit_keras as vk
from vit_keras.layers import TransformerBlock
from vit_keras.layers.adapted_block import AdaptedBlock, LowRank

TOKEN = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=8, num_layers=2, num_heads=2, mlp_dim=16)
MAP = TOKEN.replace(stem="conv", pooling="map", class_token=False, layer_scale=0.1)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("float32")
LABELS = np.arange(8) % 3
ADAPTERS = {"rank": 2, "alpha": 2, "targets": ["qkv", "output", "expand", "contract"]}


def train(model, epochs=1):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, run_eagerly=not JIT, jit_compile=JIT)
    model.fit(IMAGES, LABELS, epochs=epochs, verbose=0)
    return model


def save_and_load(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def head_only(config):
    model = vk.vit(config, num_classes=3)
    for layer in model.layers[:-1]:
        layer.trainable = False
    return model


@pytest.mark.parametrize("is_backbone", [False, True])
def test_after_saving_only_the_head_trains(is_backbone, tmp_path):
    model = head_only(TOKEN)
    if is_backbone:
        backbone, images = vk.vit(MAP), keras.Input((16, 16, 3))
        backbone.trainable = False
        model = keras.Model(images, keras.layers.Dense(3)(backbone(images)))
    restored = save_and_load(train(model, epochs=3), tmp_path)
    assert len(model.trainable_weights) == len(restored.trainable_weights) == 2  # the head's kernel and bias
    assert int(restored.optimizer.iterations) == 3
    before = [np.array(weight) for weight in restored.get_weights()]
    restored.fit(IMAGES, LABELS, verbose=0)
    changed = [not np.array_equal(old, new) for old, new in zip(before, restored.get_weights(), strict=True)]
    assert sum(changed) == 2
    assert int(restored.optimizer.iterations) == 4


@pytest.mark.any_backend
def test_only_the_head_trains_in_a_clone_and_a_copy_from_the_config():
    model = head_only(MAP)
    for copy in (keras.models.clone_model(model), type(model).from_config(model.get_config())):
        assert [weight.path for weight in copy.trainable_weights] == ["head/kernel", "head/bias"]


def test_single_layers_of_a_model_stay_frozen(tmp_path):
    model = vk.vit(MAP, num_classes=3)
    for name in ("conv_stem", "block_00", "pooling"):
        model.get_layer(name).trainable = False
    model.get_layer("block_01").attention.trainable = False
    restored = save_and_load(train(model), tmp_path)
    paths = [weight.path for weight in restored.trainable_weights]
    assert paths == [weight.path for weight in model.trainable_weights]
    assert {path.split("/")[0] for path in paths} == {"patch_encoder", "block_01", "final_norm", "head"}
    assert not any(path.startswith("block_01/attention/") for path in paths)
    assert int(restored.optimizer.iterations) == 1
    stem = restored.get_layer("conv_stem")
    before = [np.array(weight) for weight in stem.get_weights()]
    restored.fit(IMAGES, LABELS, verbose=0)
    for old, new in zip(before, stem.get_weights(), strict=True):  # its batch norms' statistics, too
        np.testing.assert_array_equal(old, new)


def test_after_saving_only_lora_weights_train(tmp_path):
    model = train(vk.training.add_lora(vk.vit(MAP, num_classes=3), rank=2))
    restored = save_and_load(model, tmp_path)
    paths = [weight.path for weight in restored.trainable_weights]
    assert paths == [weight.path for weight in model.trainable_weights]
    assert {path.rsplit("/", 1)[1] for path in paths} == {"adapter_down", "adapter_up", "kernel", "bias"}
    assert [path for path in paths if "adapter" not in path] == ["head/kernel", "head/bias"]
    assert int(restored.optimizer.iterations) == 1


@pytest.mark.any_backend
def test_layers_with_lora_stay_frozen():
    check_stays_frozen(AdaptedBlock(2, 16, adapters=ADAPTERS), np.zeros((2, 5, 8), "float32"))
    projection = LowRank(keras.layers.Dense(4), rank=2, alpha=2, trainable=False)
    restored = LowRank.from_config(projection.get_config())
    for layer in (projection, restored):
        layer.build((None, 8))
        assert [weight.trainable for weight in layer.weights] == [False] * 4


@pytest.mark.any_backend
def test_parts_of_a_block_frozen_before_it_is_built_stay_frozen():
    block = TransformerBlock(2, 16, name="block")
    block.attention.trainable = False
    block.build((None, 5, 8))
    again = TransformerBlock.from_config(block.get_config())
    again.build((None, 5, 8))
    for each in (block, again):
        paths = [weight.path for weight in each.trainable_weights]
        assert len(paths) == 8  # of two norms and the two projections of the MLP
        assert not any(path.startswith("block/attention/") for path in paths)
