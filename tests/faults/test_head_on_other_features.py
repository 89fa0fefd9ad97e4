"""A head is loaded only onto the features that it was trained on; expected values are transformers', or NumPy's by timm's rule."""

import keras
import numpy as np
import pytest
from faults.directories import OURS, images, outputs_of, write_transformers
from safetensors.numpy import load_file, save_file
from weights.checkpoints import random_weights

import vit_keras as vk
from vit_keras.errors import WeightMismatchError
from vit_keras.models.vit import weight_shapes
from vit_keras.presets import list_presets, load_preset
from vit_keras.weights import AdaptOptions, load
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.head import differing_features, head_features
from vit_keras.weights.mappings.libraries.google import GOOGLE
from vit_keras.weights.mappings.libraries.timm import timm_table
from vit_keras.weights.writing import translate

pytestmark = pytest.mark.any_backend

pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = vk.ViTConfig(**OURS)


def timm_file(tmp_path, config):
    """Returns a file of five classes with timm's names and without a config, and its model."""
    weights = random_weights(config, 5)
    path = tmp_path / "timm.safetensors"
    save_file(translate(weights, config, timm_table(config)), path)
    model = vk.vit(config, num_classes=5)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    return path, model


def predict(model, pixels):
    return keras.ops.convert_to_numpy(model(pixels.astype("float32")))


@pytest.mark.parametrize(
    "features",
    [
        {"pooling": "mean", "final_norm": "after"},
        {"pooling": "map", "class_token": False},
        {"pooling": "token", "final_norm": "before"},
    ],
)
def test_a_file_without_a_config_reveals_pooling_and_final_norm(tmp_path, features):
    path, right = timm_file(tmp_path, SMALL.replace(**features))
    tokens = {name: value for name, value in features.items() if name == "class_token"}
    model = vk.from_preset("vit_tiny_patch16_224", weights=path, **OURS, **tokens)
    np.testing.assert_array_equal(predict(model, images()), predict(right, images()))


@pytest.mark.parametrize(
    ("file", "model", "message"),
    [
        ({"pooling": "mean", "final_norm": "after"}, {}, "pooling='mean', final_norm='after'"),
        ({}, {"pooling": "mean", "final_norm": "after"}, "final_norm='before'"),
        ({"pooling": "map", "class_token": False}, {"pooling": "mean", "class_token": False}, "pooling='map'"),
    ],
)
def test_a_head_on_other_features_is_refused_with_its_features(tmp_path, file, model, message):
    config = SMALL.replace(**file)
    timm_file(tmp_path, config)
    if config.pooling == "map":
        np.savez(tmp_path / "google.npz", **translate(random_weights(config, 5), config, GOOGLE))
    for each in tmp_path.iterdir():
        for head in ("fit", "load"):
            with pytest.raises(WeightMismatchError, match=f"trained on features of {message}.*build the model with"):
                load(vk.vit(SMALL.replace(**model), num_classes=5), each, adapt=AdaptOptions(head=head))


def test_a_new_head_may_have_other_features_with_a_warning(tmp_path, caplog):
    path, model = timm_file(tmp_path, SMALL.replace(pooling="mean", final_norm="after"))
    notes = load(vk.vit(SMALL, num_classes=3), path).notes
    assert "its features differ from the file's" in " ".join(notes)
    assert all(note in caplog.text for note in notes)
    with pytest.raises(WeightMismatchError, match="trained on features of pooling='mean'"):
        vk.rebuild(model, pooling="token", final_norm="before")
    assert vk.rebuild(model, pooling="token", num_classes=3).output_shape == (None, 3)


def test_one_head_is_not_loaded_into_a_model_with_two(tmp_path):
    write_transformers(tmp_path, "DeiTForImageClassification", "DeiTConfig", num_labels=5)
    config = SMALL.replace(distillation_token=True)
    with pytest.raises(WeightMismatchError, match="distillation_head=False"):
        load(vk.vit(config, num_classes=5), tmp_path)
    new = vk.vit(config, num_classes=3)
    load(new, tmp_path)
    assert not any(np.any(new.get_layer(name).get_weights()[0]) for name in ("head", "head_distillation"))


def test_the_input_of_a_classifier_beside_a_pooler_is_the_class_token(tmp_path, rng):
    theirs = write_transformers(tmp_path, "ViTForImageClassification", "ViTConfig", num_labels=5)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["vit.pooler.dense.weight"] = rng.normal(size=(24, 24)).astype("float32")
    tensors["vit.pooler.dense.bias"] = rng.normal(size=24).astype("float32")
    save_file(tensors, tmp_path / "model.safetensors")
    expected = outputs_of(theirs, images())["logits"].numpy()
    np.testing.assert_allclose(predict(vk.from_preset(tmp_path), images()), expected, rtol=1e-4, atol=2e-5)
    with pytest.raises(WeightMismatchError, match="pre_logits_dim=None"):
        load(vk.vit(SMALL.replace(pre_logits_dim=24), num_classes=5), tmp_path)


def kinds_of_presets():
    """Returns one small config for each kind of features of presets with published weights."""
    fields = (
        "class_token", "distillation_token", "num_registers", "pooling", "final_norm", "pre_logits_dim", "parallel_block",
    )  # fmt: skip
    found = {}
    for name in list_presets():
        preset = load_preset(name)
        for checkpoint in preset.weights.values():
            config = preset.config.replace(**checkpoint.config, num_layers=1)
            found.setdefault(tuple(getattr(config, field) for field in fields), config)
    return list(found.values())


@pytest.mark.parametrize("config", kinds_of_presets(), ids=str)
def test_the_features_of_published_presets_are_recognized(config):
    table = timm_table(config)
    shapes = weight_shapes(config, num_classes=2)
    names = {
        spelled.replace("{i}", "0"): TensorInfo(shapes[row.targets[0].replace("{i}", "00")], "float32")
        for row in table.rows
        for spelling in row.ways
        if spelling.when(config) and row.targets[0].replace("{i}", "00") in shapes
        for spelled in spelling.names
    }
    assert not differing_features(head_features(table, names), config)
