import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from vit_keras.training.transfer import row_probes
from vit_keras.training.transfer.row_probes import multi_label_probe, regression_probe
from vit_keras.training.transfer.softmax_regression import find_axes

pytestmark = pytest.mark.any_backend


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(300, 12)).astype("float32") * 3 + 1


@pytest.fixture
def tags(features):
    rng = np.random.default_rng(1)
    return (features @ rng.normal(size=(12, 3)) + 4 * rng.normal(size=(300, 3)) > [5, 0, 12]).astype("uint8")


def test_each_class_is_scikit_learns_logistic_regression(features, tags, monkeypatch):
    monkeypatch.setattr(row_probes, "PENALTIES", (0.05,))
    monkeypatch.setattr(row_probes, "_TOLERANCE", 1e-12)
    probe = multi_label_probe(features[:200], tags[:200], features[200:], tags[200:])
    axes = find_axes(features[:200])
    standard = (features - axes.mean) / axes.scale
    for label in range(3):
        reference = LogisticRegression(C=1 / (200 * 0.05), tol=1e-8, max_iter=2000)
        reference.fit(standard[:200], tags[:200, label])
        expected = reference.decision_function(standard[200:])
        np.testing.assert_allclose(probe.logits(features[200:])[:, label], expected, atol=2e-3)


def test_a_class_that_no_image_has_gets_its_frequency(features, tags):
    tags = tags.copy()
    tags[:, 1] = 0
    probe = multi_label_probe(features[:200], tags[:200], features[200:], tags[200:])
    assert not probe.kernel[:, 1].any()
    assert probe.bias[1] == pytest.approx(np.log(1 / 201), rel=1e-5)


def test_weights_make_a_class_more_likely(features, tags):
    plain, weighted = (
        multi_label_probe(features[:200], tags[:200], features[200:], tags[200:], class_weights=weights)
        for weights in (None, (10.0, 1.0, 1.0))
    )
    more = (weighted.logits(features[200:]) - plain.logits(features[200:])).mean(axis=0)
    assert more[0] > 0.5


def test_numbers_are_predicted_by_scikit_learns_ridge(features, monkeypatch):
    rng = np.random.default_rng(2)
    numbers = features @ rng.normal(size=(12, 2)) / 10 + rng.normal(size=(300, 2)) / 5
    monkeypatch.setattr(row_probes, "PENALTIES", (0.3,))
    probe = regression_probe(features[:200], numbers[:200], features[200:], numbers[200:])
    axes = find_axes(features[:200])
    standard = (features - axes.mean) / axes.scale
    reference = Ridge(alpha=0.3 * 200).fit(standard[:200], numbers[:200])
    np.testing.assert_allclose(probe.logits(features[200:]), reference.predict(standard[200:]), atol=1e-4)


def test_the_penalty_with_the_lowest_error_of_the_validation_images_is_chosen(features):
    rng = np.random.default_rng(3)
    clean = features @ rng.normal(size=(12, 1)) / 10
    noise = rng.normal(size=(300, 1))
    probes = [regression_probe(features[:40], labels[:40], features[200:], labels[200:]) for labels in (clean, noise)]
    assert probes[0].penalty < probes[1].penalty
