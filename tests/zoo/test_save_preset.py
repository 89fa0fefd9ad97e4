"""A preset directory is written complete or not at all."""

import json
from importlib import metadata

import keras
import pytest
from huggingface_hub import ModelCard

from vit_keras.data.images.preprocess import Preprocessing, preset_preprocessing
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.models.vit import vit
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_class_names, load_preprocessing
from vit_keras.zoo.save_preset import save_preset


def test_a_preset_directory_has_four_files(tiny_preset):
    assert {item.name for item in tiny_preset.iterdir()} == {
        "config.json",
        "model.safetensors",
        "labels.json",
        "README.md",
    }


@pytest.mark.parametrize(("classes", "task"), [(2, "image-classification"), (None, "image-feature-extraction")])
def test_the_model_card_describes_the_model_and_has_hugging_faces_metadata(tiny_config, tmp_path, classes, task):
    model = vit(tiny_config, num_classes=classes)
    card = ModelCard.load(save_preset(model, tmp_path / "mine", notes="Trained on cats.") / "README.md")
    assert "16x16 px" in card.text
    assert "Trained on cats." in card.text
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == ("vit_keras", task, "unknown")
    assert {"keras", "vision-transformer", task} <= set(card.data.tags)
    assert card.data.metrics == (["accuracy"] if classes else None)


def test_names_in_the_model_card_are_escaped(tiny_config, tmp_path):
    names = ["<b>bold</b>", "two\nlines", "---"]
    path = save_preset(vit(tiny_config, num_classes=3), tmp_path / "mine", class_names=names) / "README.md"
    assert "3 classes: &lt;b&gt;bold&lt;/b&gt;, two\\\\nlines, ---" in path.read_text()
    assert ModelCard.load(path).data.license == "unknown"


def test_preprocessing_is_saved(tiny_model, tmp_path):
    rule = Preprocessing(image_size=(16, 16), crop=0.875, crop_mode="border", interpolation="bilinear")
    path = save_preset(tiny_model, tmp_path / "mine", preprocessing=rule)
    assert load_preprocessing(path) == load_preprocessing(str(path)) == rule
    assert json.loads((path / "config.json").read_text())["preprocessing"] == rule.to_dict()


def test_preprocessing_of_published_weights_can_be_saved(tmp_path):
    rule = preset_preprocessing("test_vit", weights="r160_in1k")
    assert load_preprocessing(save_preset(from_preset("test_vit"), tmp_path / "mine", preprocessing=rule)) == rule
    assert rule.crop < 1


@pytest.mark.parametrize(
    ("names", "expected"), [(("été", "猫", "😀 & <b>"), ("été", "猫", "😀 & <b>")), (None, ("0", "1", "2"))]
)
def test_class_names_are_saved_in_any_script_and_are_indices_by_default(tiny_config, tmp_path, names, expected):
    path = save_preset(vit(tiny_config, num_classes=3), tmp_path / "mine", class_names=names)
    assert load_class_names(path) == expected


def test_a_model_without_a_head_is_loaded_without_one(tiny_config, tmp_path):
    path = save_preset(vit(tiny_config), tmp_path / "headless")
    assert from_preset(path).output_shape == (None, 16)
    assert load_class_names(path) == ()


def foreign_model():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preprocessing": Preprocessing(image_size=(16, 24))}, r"the model takes \(16, 16, 3\)"),
        ({"preprocessing": Preprocessing(image_size=(16, 16), channels=1)}, r"the model takes \(16, 16, 3\)"),
        ({"class_names": ["a", "b"]}, "2 class names for a model of 3 classes"),
        ({"model": foreign_model()}, "not made by vit_keras"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tiny_model, tmp_path, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        save_preset(**{"model": tiny_model, "directory": tmp_path / "mine", **arguments})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_is_overwritten(tiny_model, tmp_path, kind):
    target = tmp_path / "mine"
    target.mkdir() if kind == "folder" else target.write_text("mine")
    with pytest.raises(StorageError, match="mine exists"):
        save_preset(tiny_model, target)
    assert list(tmp_path.rglob("*")) == [target]


@pytest.mark.parametrize(
    ("step", "error", "expected"),
    [
        ("vit_keras.weights.store.save_file", OSError(28, "No space left on device"), StorageError),
        ("vit_keras.runtime.files.os.fsync", OSError(28, "No space left on device"), StorageError),
        ("pathlib.Path.rename", OSError(28, "No space left on device"), StorageError),
        ("vit_keras.zoo.save_preset.write_tensors", KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_while_saving_leaves_nothing(tiny_model, tmp_path, monkeypatch, step, error, expected):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.raises(expected, match="No space left on device" if expected is StorageError else None):
        save_preset(tiny_model, tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_saving_works_where_the_package_is_not_installed(tiny_model, tmp_path, monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", unknown)
    assert save_preset(tiny_model, tmp_path / "mine").is_dir()
