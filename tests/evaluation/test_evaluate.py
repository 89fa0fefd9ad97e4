import csv
import json
import shutil

import numpy as np
import pytest

import vit_keras as vk
from vit_keras.data import ImageData, Preprocessing, Split
from vit_keras.data.images.decode import read_image
from vit_keras.errors import ClassLayoutError, InvalidArgumentError, LabelError, StorageError

NAMES = ("cat", "dog", "owl")


@pytest.fixture
def labeled(tiny_model, rng):
    """20 images, of which the model classifies 15 as labeled."""
    images = rng.integers(0, 256, (20, 16, 16, 3)).astype("uint8")
    predicted = tiny_model.predict(images, verbose=0).argmax(axis=1)
    return images, np.where(np.arange(20) < 15, predicted, (predicted + 1) % 3)


def image_data(images, labels, class_names):
    splits = {"train": slice(0, 5), "validation": slice(5, 10), "test": slice(10, 20)}
    return ImageData(
        name="mine", class_names=class_names, splits={k: Split(images[s], labels[s]) for k, s in splits.items()}
    )


def test_arrays_and_splits_are_evaluated_whole(tiny_model, labeled):
    images, labels = labeled
    for data in (labeled, Split(images, labels)):
        result = vk.evaluate(tiny_model, data)
        assert (len(result.labels), result.accuracy, result.top5_accuracy) == (20, 0.75, 1)
    logits = tiny_model.predict(images, verbose=0).astype("float64")
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(20), labels]
    assert result.loss == pytest.approx(expected.mean(), rel=1e-4)


def test_a_directory_is_evaluated_on_the_split_with_classes_matched_by_name(tiny_preset, labeled):
    images, labels = labeled
    reordered = image_data(images, np.array([2, 0, 1])[labels], ("dog", "owl", "cat"))
    assert vk.evaluate(tiny_preset, reordered).accuracy == 0.5
    assert vk.evaluate(tiny_preset, reordered, split="validation").accuracy == 1
    result = vk.evaluate(tiny_preset, reordered, split="all")
    assert result.accuracy == 0.75
    assert [row["name"] for row in result.to_dict()["classes"]] == ["cat", "dog", "owl"]
    assert "dog" in str(result)


@pytest.mark.any_backend
def test_a_folder_is_resized_to_the_model(tiny_preset, image_folder):
    assert len(vk.evaluate(tiny_preset, image_folder, split="all").labels) == 11


@pytest.fixture
def expected(tiny_model, image_folder):
    """Path, label and probabilities of each image of the folder, by plain Keras."""
    files = sorted(image_folder.rglob("*.png"))
    pixels = np.stack([read_image(path, Preprocessing(image_size=(16, 16))) for path in files])
    logits = tiny_model.predict(pixels, verbose=0).astype("float64")
    return files, [path.parent.name for path in files], np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.any_backend
def test_all_images_of_a_folder_or_table_are_scored_whatever_their_number(
    tiny_preset, image_folder, expected, tmp_path, caplog
):
    files, names, probabilities = expected
    correct = [NAMES[index] == name for index, name in zip(probabilities.argmax(axis=1), names, strict=True)]
    for path in (image_folder / "dog").glob("0[1-9].png"):
        path.unlink()
    (image_folder / "owl").mkdir()
    kept = [path.is_file() for path in files]
    result = vk.evaluate(tiny_preset, image_folder)  # six cats, one dog, no owl
    assert (len(result.labels), result.accuracy) == (7, np.mean(np.array(correct)[kept]))
    (tmp_path / "table.csv").write_text(
        "file,label\n" + "".join(f"{path},{path.parent.name}\n" for path in files if path.is_file())
    )
    assert vk.evaluate(tiny_preset, tmp_path / "table.csv").accuracy == result.accuracy
    (image_folder / "cat" / "00.png").write_bytes(b"")
    assert len(vk.evaluate(tiny_preset, image_folder).labels) == 6
    assert "1 of 7 files can't be read and are left out, the first cat/00.png" in caplog.text


@pytest.mark.any_backend
def test_a_split_is_the_one_the_data_have_else_drawn(tiny_preset, make_folder, tmp_path):
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        make_folder({"cat": count, "dog": count}, tmp_path / "parts" / split)
    for options, count in (({}, 6), ({"split": "validation"}, 4), ({"split": "all"}, 20)):
        assert len(vk.evaluate(tiny_preset, tmp_path / "parts", **options).labels) == count
    whole = make_folder({"cat": 20, "dog": 20}, tmp_path / "whole")
    assert len(vk.evaluate(tiny_preset, whole, split="test").labels) == 4
    assert len(vk.evaluate(tiny_preset, whole).labels) == 40


@pytest.mark.any_backend
def test_of_the_folder_that_a_run_was_trained_on_only_the_images_held_out_are_scored(
    tiny_preset, make_folder, tmp_path, caplog
):
    photos = make_folder({"cat": 20, "dog": 20}, tmp_path / "photos")
    shutil.copytree(tiny_preset, tmp_path / "run" / "model")
    record = {"options": {"data": str(photos), "seed": 3}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    result = vk.evaluate(tmp_path / "run", photos)
    held_out = vk.data.load(photos, image_size=16, seed=3).splits["test"]
    expected = vk.predict(tiny_preset, [held_out.files.name(index) for index in range(4)], top=None)
    assert result.accuracy == expected.accuracy
    assert len(result.labels) == 4
    assert len(vk.evaluate(tmp_path / "run", photos, split="all").labels) == 40
    shutil.copytree(photos, tmp_path / "others")
    assert len(vk.evaluate(tmp_path / "run", tmp_path / "others").labels) == 40
    assert "the result is too good" not in caplog.text

    loaded = {"options": {"seed": 3}, "data": {"name": str(photos)}}  # by vk.data.load, with options that no record has
    (tmp_path / "run" / "run.json").write_text(json.dumps(loaded))
    assert len(vk.evaluate(tmp_path / "run", photos).labels) == 40
    assert "the result is too good" in caplog.text


@pytest.mark.any_backend
def test_a_row_per_image_is_written(tiny_preset, image_folder, expected, tmp_path):
    files, names, probabilities = expected
    vk.evaluate(tiny_preset, image_folder, out=tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["truth"]) for row in rows] == [
        (str(path), name) for path, name in zip(files, names, strict=True)
    ]
    assert [row["class"] for row in rows] == [NAMES[index] for index in probabilities.argmax(axis=1)]
    found = [[float(row[f"probability_{name}"]) for name in NAMES] for row in rows]
    np.testing.assert_allclose(found, probabilities, rtol=1e-4)
    with pytest.raises(StorageError, match="nothing is overwritten"):
        vk.evaluate("nowhere", image_folder, out=tmp_path / "rows.csv")


def test_probabilities_stay_as_they_are(tiny_model, labeled):
    softmax = vk.rebuild(tiny_model, classifier_activation="softmax")
    expected = vk.evaluate(tiny_model, labeled).probabilities
    np.testing.assert_allclose(vk.evaluate(softmax, labeled).probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"split": "tests"}, InvalidArgumentError, "split must be one of train, validation, test, all, got 'tests'"),
        ({"class_names": ("cat", "dog", "yak")}, ClassLayoutError, r"classes that the model lacks: yak"),
        ({"labels": 3}, LabelError, r"The labels go up to \d, but the model has 3 classes"),
        ({"images": np.zeros((20, 8, 8, 3), "uint8")}, InvalidArgumentError, r"are \(8, 8, 3\) and the model takes"),
    ],
)
@pytest.mark.any_backend
def test_data_that_does_not_fit_is_refused(tiny_preset, labeled, change, error, message):
    images, labels = change.get("images", labeled[0]), labeled[1] + change.get("labels", 0)
    names = change.get("class_names", tuple(map(str, range(6))) if "labels" in change else ("cat", "dog", "owl"))
    with pytest.raises(error, match=message):
        vk.evaluate(tiny_preset, image_data(images, labels, names), split=change.get("split", "all"))


@pytest.mark.any_backend
def test_a_model_without_a_head_is_refused(tiny_config, labeled):
    with pytest.raises(InvalidArgumentError, match="no head"):
        vk.evaluate(vk.vit(tiny_config), labeled)
