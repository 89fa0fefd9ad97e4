import numpy as np
import pytest

import vit_keras as vk
from vit_keras.data import ImageData, Split
from vit_keras.errors import ClassLayoutError, InvalidArgumentError, LabelError


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


def test_a_folder_is_resized_to_the_model(tiny_preset, image_folder):
    assert len(vk.evaluate(tiny_preset, image_folder, split="all").labels) == 11


def test_probabilities_stay_as_they_are(tiny_model, labeled):
    softmax = vk.rebuild(tiny_model, classifier_activation="softmax")
    expected = vk.evaluate(tiny_model, labeled).probabilities
    np.testing.assert_allclose(vk.evaluate(softmax, labeled).probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"split": "tests"}, InvalidArgumentError, "split must be one of train, validation, test, all, got 'tests'"),
        ({"class_names": ("cat", "dog", "yak")}, ClassLayoutError, r"classes that the model lacks: \['yak'\]"),
        ({"labels": 3}, LabelError, r"The labels go up to \d, but the model has 3 classes"),
        ({"images": np.zeros((20, 8, 8, 3), "uint8")}, InvalidArgumentError, r"are \(8, 8, 3\) and the model takes"),
    ],
)
def test_data_that_does_not_fit_is_refused(tiny_preset, labeled, change, error, message):
    images, labels = change.get("images", labeled[0]), labeled[1] + change.get("labels", 0)
    names = change.get("class_names", tuple(map(str, range(6))) if "labels" in change else ("cat", "dog", "owl"))
    with pytest.raises(error, match=message):
        vk.evaluate(tiny_preset, image_data(images, labels, names), split=change.get("split", "all"))


def test_a_model_without_a_head_is_refused(tiny_config, labeled):
    with pytest.raises(InvalidArgumentError, match="no head"):
        vk.evaluate(vk.vit(tiny_config), labeled)
