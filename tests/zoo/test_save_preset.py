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
    files = {item.name for item in tiny_preset.iterdir()}
    assert files == {"config.json", "model.safetensors", "labels.json", "README.md"}


@pytest.mark.parametrize(("classes", "task"), [(2, "image-classification"), (None, "image-feature-extraction")])
def test_the_model_card_describes_the_model_and_has_hugging_faces_metadata(tiny_config, tmp_path, classes, task):
    path = save_preset(vit(tiny_config, num_classes=classes), tmp_path / "mine", notes="Trained on cats.")
    card = ModelCard.load(path / "README.md")
    assert "16x16 px" in card.text
    assert "Trained on cats." in card.text
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == ("vit_keras", task, "unknown")
    assert {"keras", "vision-transformer", task} <= set(card.data.tags)
    assert card.data.metrics == (["accuracy"] if classes else None)
    assert from_preset(path).output_shape == (None, classes or 16)
    assert len(load_class_names(path)) == (classes or 0)


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
    rule = preset_preprocessing("test_vit", weights="r160_in1k")
    assert load_preprocessing(save_preset(from_preset("test_vit"), tmp_path / "other", preprocessing=rule)) == rule
    assert rule.crop < 1


@pytest.mark.parametrize("names", [("été", "猫", "😀 & <b>"), None])
def test_class_names_are_saved_in_any_script_and_are_indices_by_default(tiny_model, tmp_path, names):
    path = save_preset(tiny_model, tmp_path / "mine", class_names=names)
    assert load_class_names(path) == (names or ("0", "1", "2"))


def test_arguments_that_do_not_fit_are_refused_and_nothing_is_overwritten(tiny_model, tmp_path):
    foreign = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for arguments, message in (
        ({"preprocessing": Preprocessing(image_size=(16, 24))}, r"the model takes \(16, 16, 3\)"),
        ({"preprocessing": Preprocessing(image_size=(16, 16), channels=1)}, r"the model takes \(16, 16, 3\)"),
        ({"class_names": ["a", "b"]}, "2 class names for a model of 3 classes"),
        ({"model": foreign}, "not made by vit_keras"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            save_preset(**{"model": tiny_model, "directory": tmp_path / "mine", **arguments})
    assert not list(tmp_path.iterdir())
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "folder", tmp_path / "file"):
        with pytest.raises(StorageError, match=f"{target.name} exists"):
            save_preset(tiny_model, target)
    assert set(tmp_path.rglob("*")) == {tmp_path / "folder", tmp_path / "file"}
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "step",
    ["weights.store.save_file", "runtime.files.os.fsync", "runtime.files.Path.rename", "zoo.save_preset.write_tensors"],
)
def test_a_failure_while_saving_leaves_nothing(tiny_model, tmp_path, monkeypatch, step):
    raised, expected = (KeyboardInterrupt,) * 2 if step.endswith("write_tensors") else (OSError, StorageError)

    def fail(*arguments, **keywords):
        raise raised(28, "No space left on device")

    monkeypatch.setattr(f"vit_keras.{step}", fail)
    with pytest.raises(expected, match="No space left on device"):
        save_preset(tiny_model, tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_saving_works_where_the_package_is_not_installed(tiny_model, tmp_path, monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", unknown)
    assert save_preset(tiny_model, tmp_path / "mine").is_dir()
