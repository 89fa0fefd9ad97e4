import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from training.weights import assert_equal, randomize

from vit_keras.data import Split
from vit_keras.errors import (
    ClassLayoutError,
    DataError,
    EmptyDatasetError,
    InvalidArgumentError,
    LabelError,
    WeightMismatchError,
)
from vit_keras.models.vit import vit
from vit_keras.training.transfer import softmax_regression
from vit_keras.training.transfer.features import extract_features
from vit_keras.training.transfer.linear_probe import linear_probe
from vit_keras.training.transfer.penalty_search import PENALTIES, choose_penalty, split_folds
from vit_keras.training.transfer.softmax_regression import SoftmaxRegression, find_axes

CLASSES, DIM = 4, 12


def clouds(rng, per_class, *, apart=1.0):
    """Four overlapping clouds; the features have different means and scales, and one is constant."""
    labels = np.repeat(np.arange(CLASSES), per_class)
    centers = np.random.default_rng(7).normal(size=(CLASSES, DIM)) * apart
    features = (centers[labels] + rng.normal(size=(len(labels), DIM))) * np.geomspace(0.01, 100, DIM) + 3
    features[:, 5] = 2.0
    return features.astype("float32"), labels


def objective(probe, features, labels, penalty, class_weights=None):
    """The value to minimize, from its definition."""
    logits = features.astype("float64") @ probe.kernel + probe.bias
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    standard = probe.kernel * find_axes(features).scale[:, None]
    weights = np.ones(len(labels)) if class_weights is None else np.asarray(class_weights)[labels]
    return (weights @ losses) / weights.sum() + penalty / 2 * (standard**2).sum()


def scikit_learn(features, labels, penalty, class_weights=None):
    """Returns the minimum and the logits of scikit-learn for the same problem."""
    axes = find_axes(features)
    weights = np.ones(len(labels)) if class_weights is None else np.asarray(class_weights)[labels]
    found = LogisticRegression(C=1 / (penalty * weights.sum()), tol=1e-10, max_iter=20_000)
    standard = (features - axes.mean) / axes.scale
    found.fit(standard, labels, sample_weight=weights)
    logits = standard @ found.coef_.T + found.intercept_
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return (weights @ losses) / weights.sum() + penalty / 2 * (found.coef_**2).sum(), logits


@pytest.mark.parametrize(
    ("penalty", "class_weights", "small"),
    [(1.0, None, 2**20), (1e-2, (1.0, 2.0, 0.5, 3.0), 0), (1e-4, None, 0), (1e-4, (1.0, 2.0, 0.5, 3.0), 2**20)],
)  # `small` decides between float64 and float32
def test_the_optimum_is_that_of_scikit_learn(rng, monkeypatch, penalty, class_weights, small):
    monkeypatch.setattr(softmax_regression, "_SMALL", small)
    features, labels = clouds(rng, 50)
    probe = linear_probe(features, labels, num_classes=CLASSES, penalties=(penalty,), class_weights=class_weights)
    expected, logits = scikit_learn(features, labels, penalty, class_weights)
    assert objective(probe, features, labels, penalty, class_weights) == pytest.approx(expected, rel=1e-4)
    ours, theirs = (each - each.mean(axis=1, keepdims=True) for each in (probe.logits(features), logits))
    np.testing.assert_allclose(ours, theirs, atol=0.02 * logits.std())


@pytest.mark.parametrize("chunk", [2**20, 12])
def test_the_gradient_equals_finite_differences(rng, monkeypatch, chunk):
    monkeypatch.setattr(softmax_regression, "_CHUNK", chunk)  # 12: three images at once
    features, labels = rng.normal(size=(20, 5)), np.arange(20) % CLASSES
    weights = rng.uniform(0.5, 1.5, 20)
    problem = SoftmaxRegression(features, labels, weights / weights.sum(), np.ones(5), CLASSES)
    point, step = rng.normal(size=(6, CLASSES)), 1e-6
    _, gradient = problem.value(point, 0.3)
    for place in np.ndindex(point.shape):
        offset = np.zeros_like(point)
        offset[place] = step
        slope = (problem.value(point + offset, 0.3)[0] - problem.value(point - offset, 0.3)[0]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=1e-8)


def test_the_penalty_is_the_best_on_the_validation_images(rng):
    features, labels = clouds(rng, 10, apart=0.6)
    holdout, targets = clouds(rng, 500, apart=0.6)
    probe = linear_probe(features, labels, holdout, targets, num_classes=CLASSES)
    assert probe.accuracy(holdout, targets) == pytest.approx(probe.validation_accuracies[probe.penalty], abs=0.01)
    alone = [linear_probe(features, labels, num_classes=CLASSES, penalties=(penalty,)) for penalty in PENALTIES]
    every = [each.accuracy(holdout, targets) for each in alone]
    assert probe.accuracy(holdout, targets) >= max(every) - 0.01
    assert max(every) - min(every) > 0.02  # so that a wrong choice would fail
    assert len(probe.validation_accuracies) < len(PENALTIES)  # the search stops where weaker ones only get worse


@pytest.mark.parametrize("per_class", [2, 20])
def test_with_few_images_the_choice_is_no_worse_than_scikit_learns_default(per_class):
    chosen, default = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        features, labels = clouds(rng, per_class, apart=0.8)
        holdout, targets = clouds(rng, 500, apart=0.8)
        one = 1 / len(labels)  # C=1
        chosen.append(linear_probe(features, labels, num_classes=CLASSES).accuracy(holdout, targets))
        default.append(linear_probe(features, labels, num_classes=CLASSES, penalties=(one,)).accuracy(holdout, targets))
    assert np.mean(chosen) >= np.mean(default) - 0.01


def test_two_images_are_enough_to_find_the_informative_feature(rng):
    """Standardized by their own deviation, all features of two images would look the same."""
    center = np.zeros((2, DIM))
    center[:, 0] = (-4, 4)
    holdout = np.repeat(center, 200, axis=0) + rng.normal(size=(400, DIM))
    probe = linear_probe(center + rng.normal(size=(2, DIM)), np.array([0, 1]), num_classes=2)
    assert probe.accuracy(holdout, np.repeat([0, 1], 200)) > 0.95


def test_one_image_of_every_class_or_of_one_is_enough(rng):
    features, labels = clouds(rng, 10, apart=5.0)
    holdout, targets = clouds(rng, 50, apart=5.0)
    probe = linear_probe(features[::10], labels[::10], num_classes=CLASSES)
    assert (probe.validation_accuracies, probe.penalty) == ({}, 1.0)
    assert probe.accuracy(holdout, targets) > 0.9
    probe = linear_probe(features[9:], labels[9:], num_classes=CLASSES)
    assert probe.accuracy(holdout[targets == 0], targets[targets == 0]) > 0.9


def fixed_folds(losses_and_rights):
    """Returns one fold whose losses and correct predictions are given by penalty."""

    class Given:
        def start(self):
            return None

        def fit(self, penalty, start, *, tolerance):
            return penalty

    class Fold:
        problem, weights = Given(), np.ones(len(next(iter(losses_and_rights.values()))[0]))

        def evaluate(self, penalty):
            losses, rights = losses_and_rights[penalty]
            return np.asarray(rights, bool), np.asarray(losses, float)

    return [Fold()]


def test_the_loss_decides_unless_the_accuracy_is_clearly_better(rng):
    noise, number = rng.normal(size=400) * 0.1, np.arange(400)
    strong, worse, alike = (0.5 + noise, number < 200), 0.6 + noise * 2, 0.5 - noise
    lucky = {1.0: strong, 0.1: (worse, number < 203)}
    clear = {1.0: strong, 0.1: (worse, number < 240)}
    near = {1.0: strong, 0.1: (alike, number < 203)}
    assert [choose_penalty(fixed_folds(case), (1.0, 0.1)).penalty for case in (lucky, clear, near)] == [1.0, 0.1, 0.1]


def test_the_folds_are_stratified_and_keep_the_only_image_of_a_class(rng):
    labels = rng.permutation(np.repeat(np.arange(4), (1, 2, 7, 30)))
    folds = split_folds(labels)
    together = np.concatenate(folds)
    assert sorted(together) == np.flatnonzero(labels != 0).tolist()
    for fold in folds:
        assert set(np.delete(labels, fold)) == {0, 1, 2, 3}
    assert len(split_folds(np.arange(6000) % 2)) == 1
    assert len(split_folds(np.arange(6000) % 2)[0]) == 1200


def test_a_class_without_images_is_never_predicted_and_causes_a_warning(rng):
    features, labels = clouds(rng, 20)
    known = labels != 2
    holdout, targets = clouds(rng, 100)
    with pytest.warns(UserWarning, match=r"1 of 4 classes has no training image and will never be predicted: 2\."):
        probe = linear_probe(features[known], labels[known], holdout, targets, num_classes=CLASSES)
    logits = probe.logits(holdout)
    assert np.isfinite(logits).all()
    assert not (probe.predict(holdout) == 2).any()
    assert (logits[:, 2] < logits.max(axis=1) - 1).all()
    assert probe.validation_accuracies[probe.penalty] == pytest.approx(probe.accuracy(holdout, targets), abs=0.01)


@pytest.mark.parametrize("distilled", [False, True])
def test_the_model_gets_the_logits_of_the_probe_whatever_a_second_head(tiny_config, rng, distilled):
    model = randomize(vit(tiny_config.replace(num_layers=1, distillation_token=distilled), num_classes=3))
    split = Split(rng.integers(0, 256, (30, 16, 16, 3)).astype("uint8"), np.arange(30) % 3)
    features = extract_features(model, split)
    probe = linear_probe(features, split.labels, num_classes=3)
    probe.apply_to(model)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(split.images)), probe.logits(features), atol=1e-4)


def test_a_head_of_another_shape_is_refused_and_not_changed(tiny_model, rng):
    features, labels = clouds(rng, 5)
    probe = linear_probe(features, labels, num_classes=CLASSES)
    before = tiny_model.get_weights()
    with pytest.raises(WeightMismatchError, match=r"12 features to 4 classes.*\(16, 3\).*num_classes=4"):
        probe.apply_to(tiny_model)
    assert_equal(tiny_model.get_weights(), before)


def test_bad_input(rng):
    features, labels = clouds(rng, 5)
    count = len(labels)
    infinite = features.copy()
    infinite[7, 2] = np.inf
    for broken, error, match in [
        ((infinite, labels), DataError, "1 of 20 rows, the first 7"),
        ((features[:0], labels[:0]), EmptyDatasetError, "training features are empty"),
        ((features[0], labels), DataError, r"shape \(count, dim\)"),
        ((features, labels[1:]), LabelError, f"must be {count} integers"),
        ((features, labels.astype("float32")), LabelError, "float32"),
        ((features, labels + 1), LabelError, r"indices from 0 to 3; 5 of 20 are not, the first 4 at position 15"),
        ((features, labels - 1), LabelError, "the first -1 at position 0"),
        ((features, np.zeros(count, int)), ClassLayoutError, "All 20 training images are of class 0"),
        ((features, labels, features), InvalidArgumentError, "Give both validation_features and validation_labels"),
        ((features, labels, features[:, :3], labels), DataError, "validation features have width 3, expected 12"),
        ((features, labels, features, labels + 1), LabelError, "validation labels"),
        ((features, labels, features[:0], labels[:0]), EmptyDatasetError, "validation features are empty"),
    ]:
        with pytest.raises(error, match=match):
            linear_probe(*broken, num_classes=CLASSES)
    for arguments, match in [
        ({"penalties": ()}, "penalties"),
        ({"penalties": (0.1, 0.0)}, "penalties"),
        ({"penalties": (np.nan,)}, "penalties"),
        ({"class_weights": (1, 2)}, "must be 4 positive numbers"),
        ({"class_weights": (1, 2, 0, 1)}, "must be 4 positive numbers"),
    ]:
        with pytest.raises(InvalidArgumentError, match=match):
            linear_probe(features, labels, num_classes=CLASSES, **arguments)
