import builtins
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import vit_keras as vk
from vit_keras.data import ImageData, Split
from vit_keras.errors import DataError, InvalidArgumentError

pytestmark = pytest.mark.any_backend

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)


@pytest.fixture(scope="module")
def data():
    """Three classes of noisy images whose brightness and color overlap."""
    rng, splits = np.random.default_rng(1), {}
    colors = np.array([[120, 90, 90], [90, 120, 90], [100, 100, 100]])
    for name, count in (("train", 150), ("validation", 60), ("test", 90)):
        labels = (np.arange(count) % 3).astype("int32")
        noise = rng.normal(size=(count, 16, 16, 3)) * 30 + rng.normal(size=(count, 1, 1, 3)) * 12
        pixels = colors[labels][:, None, None] + noise
        splits[name] = Split(pixels.clip(0, 255).astype("uint8"), labels)
    return ImageData(name="colors", class_names=("red", "green", "gray"), splits=splits)


@pytest.fixture(scope="module")
def encoder():
    return vk.vit(CONFIG)


@pytest.fixture(scope="module")
def found(encoder, data):
    return vk.evaluate_features(encoder, data)


def test_the_measures_are_those_of_scikit_learn(encoder, data, found):
    features = {name: encoder.predict(split.images, verbose=0) for name, split in data.splits.items()}
    labels = {name: split.labels for name, split in data.splits.items()}
    scores = found.scores["encoder"]

    def weigh(distances):
        return np.exp((1 - distances) / 0.07)

    neighbors = KNeighborsClassifier(20, metric="cosine", weights=weigh).fit(features["train"], labels["train"])
    assert scores.knn_accuracy == pytest.approx(neighbors.score(features["test"], labels["test"]), abs=1e-9)
    assert 0.4 < scores.knn_accuracy < 0.99

    scaler = StandardScaler().fit(features["train"])
    best = 0.0, 0.0
    for strength in np.logspace(-3, 4, 15):
        fitted = LogisticRegression(C=strength, max_iter=5000).fit(scaler.transform(features["train"]), labels["train"])
        validation, test = (
            fitted.score(scaler.transform(features[name]), labels[name]) for name in ("validation", "test")
        )
        best = max(best, (validation, test))
    assert scores.linear_accuracy == pytest.approx(best[1], abs=0.05)
    assert scores.linear_accuracy > 0.5

    values = np.linalg.svd(features["test"].astype("float64"), compute_uv=False)
    shares = values / values.sum()
    assert scores.rank == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-3)
    np.testing.assert_allclose(found.features, features["test"], atol=1e-5)


def test_it_is_compared_with_random_weights_of_the_same_seed(data, found):
    random = found.scores["random weights"]
    assert random.rank != found.scores["encoder"].rank
    again = vk.evaluate_features(vk.vit(CONFIG), data, compare_with_random=True)
    assert again.scores["random weights"] == random
    assert list(vk.evaluate_features(vk.vit(CONFIG), data, compare_with_random=False).scores) == ["encoder"]


def test_the_table_says_what_was_measured_on_how_many_images(found):
    lines = str(found).splitlines()
    assert lines[0] == "90 test images by 150 training images, 3 classes"
    assert lines[1].split("  ")[0] == "features"
    assert lines[2].startswith("encoder")
    assert lines[3].startswith("random weights")
    assert f"{found.scores['encoder'].knn_accuracy:.2%}" in lines[2]
    assert "<th" in found._repr_html_()
    plain = found.to_dict()
    assert (plain["images"], plain["split"], plain["classes"], plain["dim"]) == (90, "test", 3, 16)
    assert plain["encoder"]["rank"] == found.scores["encoder"].rank


def test_a_split_can_be_chosen_and_a_model_with_a_head_gives_what_the_head_gets(data, encoder):
    model = vk.vit(CONFIG, num_classes=3)
    for source, target in zip(encoder.weights, model.weights, strict=False):
        target.assign(source)
    splits = {name: data.splits[name] for name in ("train", "validation")}
    two = ImageData(name="colors", class_names=data.class_names, splits=splits)
    found = vk.evaluate_features(model, two, compare_with_random=False)
    assert (found.split, found.images) == ("validation", 60)
    np.testing.assert_allclose(found.features, encoder.predict(data.splits["validation"].images, verbose=0), atol=1e-5)
    with pytest.raises(InvalidArgumentError, match="no test split"):
        vk.evaluate_features(model, two, split="test")
    with pytest.raises(InvalidArgumentError, match="split must be one of"):
        vk.evaluate_features(model, data, split="train")


def test_of_numbers_only_rank_and_uniformity_are_measured(data, encoder):
    rows = {name: Split(split.images, split.labels[:, None].astype("float32")) for name, split in data.splits.items()}
    numbers = ImageData(name="numbers", class_names=("age",), splits=rows, task="regression")
    scores = vk.evaluate_features(encoder, numbers, compare_with_random=False)
    assert scores.scores["encoder"].knn_accuracy is None
    assert "-" in str(scores).splitlines()[2].split()
    assert len(scores.plot().axes) == 1


def test_the_plot_shows_the_principal_components(found):
    axes = found.plot().axes[0]
    points = np.concatenate([collection.get_offsets() for collection in axes.collections])
    expected = PCA(2).fit_transform(found.features.astype("float64"))
    expected = np.concatenate([expected[found.labels == index] for index in range(3)])
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-4)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["red", "green", "gray"]


def test_a_plot_by_umap_shows_its_points(found, monkeypatch):
    class Umap:
        def __init__(self, random_state):
            assert random_state is not None

        def fit_transform(self, features):
            return features[:, 3:5]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    axes = found.plot(method="umap").axes[0]
    points = np.concatenate([collection.get_offsets() for collection in axes.collections])
    expected = np.concatenate([found.features[found.labels == index, 3:5] for index in range(3)])
    np.testing.assert_allclose(points, expected, atol=1e-6)
    assert axes.get_xlabel() == "UMAP 1"


def test_a_plot_without_its_package_is_refused(found, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "umap":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InvalidArgumentError, match="pip install umap-learn"):
        found.plot(method="umap")
    with pytest.raises(InvalidArgumentError, match='"pca" or "umap"'):
        found.plot(method="tsne")


def test_images_of_another_size_are_refused(data):
    with pytest.raises(DataError, match="image_size"):
        vk.evaluate_features(vk.vit(CONFIG.replace(image_size=32)), data)
