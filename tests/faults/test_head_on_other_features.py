"""A head is loaded only onto the features that it was trained on; expected values are transformers', or NumPy's by timm's rule."""

import keras
import numpy as np
import pytest
from faults.directories import IMAGENET, OURS, images, outputs_of, write_transformers
from safetensors.numpy import load_file, save_file
from weights.checkpoints import random_weights

import vit_keras as vk
from vit_keras.errors import WeightMismatchError
from vit_keras.models.vit import weight_shapes
from vit_keras.presets import list_presets, load_preset
from vit_keras.weights import AdaptOptions, load, write
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.head import differing_features, head_features
from vit_keras.weights.mappings.google import GOOGLE
from vit_keras.weights.mappings.timm import timm_table
from vit_keras.weights.writing import translate

pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = vk.ViTConfig(**OURS)
PRESET = {**{name: value for name, value in OURS.items() if name != "image_size"}, "image_size": 32}


def timm_file(tmp_path, config, num_classes=5):
    """Returns a file with timm's names without a config, and its model."""
    weights = random_weights(config, num_classes)
    path = tmp_path / "timm.safetensors"
    save_file(translate(weights, config, timm_table(config)), path)
    model = vk.vit(config, num_classes=num_classes)
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
    model = vk.from_preset("vit_tiny_patch16_224", weights=path, **PRESET, **tokens)
    np.testing.assert_array_equal(predict(model, images()), predict(right, images()))


@pytest.mark.parametrize("head", ["fit", "load"])
@pytest.mark.parametrize(
    ("file", "model", "message"),
    [
        ({"pooling": "mean", "final_norm": "after"}, {}, "pooling='mean', final_norm='after'"),
        ({}, {"pooling": "mean", "final_norm": "after"}, "final_norm='before'"),
        ({"pooling": "map", "class_token": False}, {"pooling": "mean", "class_token": False}, "pooling='map'"),
    ],
)
def test_a_head_on_other_features_is_refused_with_its_features(tmp_path, file, model, message, head):
    path, _ = timm_file(tmp_path, SMALL.replace(**file))
    with pytest.raises(WeightMismatchError, match=f"trained on features of {message}.*build the model with"):
        load(vk.vit(SMALL.replace(**model), num_classes=5), path, adapt=AdaptOptions(head=head))


def test_a_new_head_may_have_other_features_with_a_warning(tmp_path, caplog):
    path, _ = timm_file(tmp_path, SMALL.replace(pooling="mean", final_norm="after"))
    model = vk.vit(SMALL, num_classes=3)
    notes = load(model, path).notes
    assert "its features differ from the file's" in " ".join(notes)
    assert all(note in caplog.text for note in notes)


def test_googles_attention_pooling_is_not_mistaken_for_mean_pooling(tmp_path):
    config = SMALL.replace(pooling="map", class_token=False)
    np.savez(tmp_path / "x.npz", **translate(random_weights(config, 5), config, GOOGLE))
    with pytest.raises(WeightMismatchError, match="trained on features of pooling='map'"):
        load(vk.vit(config.replace(pooling="mean"), num_classes=5), tmp_path / "x.npz")


# Model class, config class, config, output, and pixel statistics where there is no preprocessor_config.json.
CLASSIFIERS = {
    "vit": ("ViTForImageClassification", "ViTConfig", {}, "logits", ()),
    "deit, one head": ("DeiTForImageClassification", "DeiTConfig", {}, "logits", IMAGENET),
    "deit, two heads": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", {}, "logits", IMAGENET),
    "ijepa": ("IJepaForImageClassification", "IJepaConfig", {}, "logits", IMAGENET),
    "msn": ("ViTMSNForImageClassification", "ViTMSNConfig", {}, "logits", IMAGENET),
    "dinov2": (
        "Dinov2ForImageClassification", "Dinov2Config", {"mlp_ratio": 2, "without": ("intermediate_size",)}, "logits", IMAGENET,
    ),
    "dinov3 without registers": ("DINOv3ViTModel", "DINOv3ViTConfig", {}, "pooler_output", IMAGENET),
    "siglip": ("SiglipForImageClassification", "SiglipConfig", {"vision": True}, "logits", ()),
    "siglip without head": ("SiglipVisionModel", "SiglipVisionConfig", {}, "pooler_output", ()),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "num_classes"),
    [(kind, count) for kind, case in CLASSIFIERS.items() for count in ([None, 5] if case[3] == "logits" else [None])],
)
def test_a_directory_of_transformers_gives_the_logits_of_transformers(tmp_path, kind, num_classes):
    model_class, config_class, changes, output, statistics = CLASSIFIERS[kind]
    if changes.get("vision"):
        from faults.directories import SIZES

        changes = {"vision_config": SIZES, "without": tuple(SIZES)}
    theirs = write_transformers(tmp_path / "theirs", model_class, config_class, num_labels=5, **changes)
    expected = outputs_of(theirs, images(), *statistics)[output].numpy()
    model = vk.from_preset(tmp_path / "theirs", num_classes=num_classes)
    np.testing.assert_allclose(predict(model, images()), expected, rtol=1e-4, atol=2e-5)


def test_one_head_is_not_loaded_into_a_model_with_two(tmp_path):
    write_transformers(tmp_path / "deit", "DeiTForImageClassification", "DeiTConfig", num_labels=5)
    two = vk.vit(SMALL.replace(distillation_token=True), num_classes=5)
    with pytest.raises(WeightMismatchError, match="distillation_head=False"):
        load(two, tmp_path / "deit")
    new = vk.vit(SMALL.replace(distillation_token=True), num_classes=3)
    load(new, tmp_path / "deit")
    assert not any(np.any(new.get_layer(name).get_weights()[0]) for name in ("head", "head_distillation"))


def test_the_input_of_a_classifier_beside_a_pooler_is_the_class_token(tmp_path):
    theirs = write_transformers(tmp_path / "vit", "ViTForImageClassification", "ViTConfig", num_labels=5)
    tensors = load_file(tmp_path / "vit" / "model.safetensors")
    rng = np.random.default_rng(3)
    tensors["vit.pooler.dense.weight"] = rng.normal(size=(24, 24)).astype("float32")
    tensors["vit.pooler.dense.bias"] = rng.normal(size=24).astype("float32")
    save_file(tensors, tmp_path / "vit" / "model.safetensors")
    expected = outputs_of(theirs, images())["logits"].numpy()
    model = vk.from_preset(tmp_path / "vit")
    np.testing.assert_allclose(predict(model, images()), expected, rtol=1e-4, atol=2e-5)
    with pytest.raises(WeightMismatchError, match="pre_logits_dim=None"):
        load(vk.vit(SMALL.replace(pre_logits_dim=24), num_classes=5), tmp_path / "vit")


def test_a_rebuilt_model_keeps_its_head_only_with_its_features():
    model = vk.vit(SMALL, num_classes=5)
    with pytest.raises(WeightMismatchError, match="trained on features of pooling='token'"):
        vk.rebuild(model, pooling="mean")
    assert vk.rebuild(model, pooling="mean", num_classes=5).output_shape == (None, 5)


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


@pytest.mark.filterwarnings("ignore")
def test_a_distilled_model_with_one_head_is_written_as_transformers_has_it(tmp_path):
    import transformers

    config = SMALL.replace(distillation_token=True, distillation_head=False)
    weights = random_weights(config, 5)
    write(weights, config, tmp_path / "theirs", to="huggingface")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "theirs").eval()
    assert type(theirs).__name__ == "DeiTForImageClassification"
    model = vk.from_preset(tmp_path / "theirs")
    assert vk.model_config(model).has_two_heads is False
    expected = outputs_of(theirs, images())["logits"].numpy()
    np.testing.assert_allclose(predict(model, images()), expected, rtol=1e-4, atol=2e-5)
