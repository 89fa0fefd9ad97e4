import warnings

import keras
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from vit_keras import ViTConfig, vit
from vit_keras.data import Split
from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError, LabelError
from vit_keras.pretraining import collapse
from vit_keras.pretraining.collapse import CollapseMonitor, effective_rank, uniformity

CONFIG = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)


@pytest.mark.any_backend
def test_rank_of_known_features(rng):
    gaussian = rng.normal(size=(4000, 64))
    assert effective_rank(np.eye(7)) == pytest.approx(7, abs=1e-3)
    assert effective_rank(5 * np.ones((50, 8))) == pytest.approx(1, abs=1e-4)
    assert effective_rank(np.zeros((5, 4))) == 0
    assert effective_rank(gaussian) == pytest.approx(63.8, abs=0.1)
    assert effective_rank(gaussian * (np.arange(64) < 4)) == pytest.approx(4, abs=0.01)
    assert effective_rank(rng.normal(size=64) + 1e-3 * gaussian) == pytest.approx(1.08, abs=0.03)  # not centered


@pytest.mark.any_backend
def test_rank_is_the_formula_of_the_paper_by_eigenvalues(rng):
    features = rng.normal(size=(90, 12)) @ rng.normal(size=(12, 12))
    values = np.sqrt(np.linalg.eigvalsh(features.T @ features))
    shares = values / values.sum() + 1e-7
    assert effective_rank(features) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-9)
    assert effective_rank(100 * features) == pytest.approx(effective_rank(features), rel=1e-9)


@pytest.mark.any_backend
def test_uniformity_is_the_mean_over_pairs(rng, monkeypatch):
    features = rng.normal(size=(23, 5))
    units = [row / np.linalg.norm(row) for row in features]
    pairs = [np.exp(-2 * np.sum((a - b) ** 2)) for i, a in enumerate(units) for b in units[:i]]
    for chunk in (1000, 7):
        monkeypatch.setattr(collapse, "_CHUNK", chunk)
        assert uniformity(features) == pytest.approx(np.log(np.mean(pairs)), abs=1e-12)
    assert uniformity(np.ones((4, 3))) == pytest.approx(0, abs=1e-12)
    assert uniformity(np.array([[1.0, 0], [-3, 0]])) == pytest.approx(-8)
    # Random directions in many dimensions are at right angles: d^2 = 2.
    assert uniformity(rng.normal(size=(400, 2000))) == pytest.approx(-4, abs=0.02)
    monkeypatch.setattr(collapse, "_LARGEST", 2)
    assert uniformity(np.array([[1.0, 0], [0, 1], [-1, 0]])) == pytest.approx(-8)


@pytest.mark.any_backend
def test_features_of_one_image_or_not_finite_are_refused():
    with pytest.raises(EmptyDatasetError, match="two images"):
        uniformity(np.ones((1, 4)))
    with pytest.raises(DataError, match="not finite"):
        effective_rank(np.array([[1.0, np.nan]]))


class Regressor(keras.Model):
    """Trains an encoder somehow."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def call(self, images):
        return self.encoder(images)[:, 0]


@pytest.fixture
def split(rng):
    return Split(rng.integers(0, 256, (40, 16, 16, 3)).astype("uint8"), np.arange(40) % 2)


def fit(encoder, split, monitor, *, epochs):
    model = Regressor(encoder)
    model.compile("sgd", "mse")
    return model.fit(
        split.images, np.zeros(len(split), "float32"), batch_size=20, epochs=epochs, verbose=0, callbacks=[monitor]
    ).history


def test_the_monitor_adds_measures_of_the_encoder_in_training(split):
    encoder = vit(CONFIG)
    monitor = CollapseMonitor(encoder, split, labels=split.labels, every=2, count=30, batch_size=8)
    history = fit(encoder, split, monitor, epochs=4)
    features = encoder.predict(monitor.images.images, verbose=0)
    assert len(features) == 30
    assert history["feature_rank"][-1] == pytest.approx(effective_rank(features), rel=1e-4)
    assert history["feature_uniformity"][-1] == pytest.approx(uniformity(features), rel=1e-4)
    ranks = history["feature_rank"]
    assert (ranks[0] == ranks[1], ranks[1] != ranks[2], ranks[2] != ranks[3]) == (True, True, True)
    known, asked = monitor.labels[:15], monitor.labels[15:]
    k = max(5, min(np.bincount(known)))
    neighbors = KNeighborsClassifier(k, metric="cosine", weights=lambda away: np.exp((1 - away) / 0.07))
    assert history["knn_accuracy"][-1] == neighbors.fit(features[:15], known).score(features[15:], asked)


@pytest.mark.any_backend
def test_it_warns_once_where_all_features_are_equal_and_keeps_that_through_a_resume():
    same = Split(np.full((8, 16, 16, 3), 90, "uint8"), np.zeros(8, "int32"))
    monitor = CollapseMonitor(vit(CONFIG), same)
    monitor.set_params({"epochs": 5})
    logs = {"loss": 1.0}
    with pytest.warns(
        UserWarning, match=r"features of 8 different images are nearly equal \(effective rank 1.0 of 16"
    ) as caught:
        monitor.on_epoch_end(0, logs)
    assert "halve the learning rate" in str(caught[0].message)
    assert logs["feature_uniformity"] == pytest.approx(0, abs=1e-6)
    resumed = CollapseMonitor(vit(CONFIG), same)
    resumed.set_params({"epochs": 5})
    resumed.set_state(monitor.get_state())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.on_epoch_end(1, {})
        resumed.on_epoch_end(1, {})


@pytest.mark.any_backend
def test_wrong_arguments_are_refused(split):
    with pytest.raises(InvalidArgumentError, match="every"):
        CollapseMonitor(vit(CONFIG), split, every=0)
    with pytest.raises(EmptyDatasetError, match="at least two"):
        CollapseMonitor(vit(CONFIG), split.subset(np.arange(1)))
    with pytest.raises(LabelError, match="40 integers"):
        CollapseMonitor(vit(CONFIG), split, labels=np.zeros(3, int))
    with pytest.raises(InvalidArgumentError, match="must return features"):
        CollapseMonitor(keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Rescaling(1)]), split)
