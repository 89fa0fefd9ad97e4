import math

import numpy as np
import pytest
from scipy.stats import binomtest

from vit_keras.evaluation.metrics import (
    Evaluation,
    calibration_bins,
    class_scores,
    confident_mistakes,
    confused_pairs,
    confusions,
    expected_calibration_error,
    wilson_interval,
)

pytestmark = pytest.mark.any_backend


def evaluation_of(said, labels, sure, classes):
    """An evaluation in which each image's answer has a probability, and the other classes share the rest."""
    said, sure = np.asarray(said), np.asarray(sure, dtype="float64")
    probabilities = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, axis=1)
    probabilities[np.arange(len(said)), said] = sure
    return Evaluation(probabilities, np.asarray(labels))


@pytest.mark.parametrize(("right", "count"), [(0, 1), (30, 30), (1, 3), (811, 1629)])
def test_the_interval_is_wilsons_as_scipy_has_it(right, count):
    expected = binomtest(right, count).proportion_ci(0.95, "wilson")
    assert wilson_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_none_and_of_all_ends_at_the_end():
    for count in (0, 1, 7, 10_000):
        assert (wilson_interval(0, count)[0], wilson_interval(count, count)[1]) == (0, 1)


def test_scores_of_classes_are_counted_by_hand():
    # Class 0: 3 images, 2 found, predicted 3 times. Class 1: 2 images, 1 found, predicted twice. Class 2: none, never predicted.
    evaluation = evaluation_of([0, 0, 1, 0, 1], [0, 0, 0, 1, 1], [0.9] * 5, classes=3)
    scores = class_scores(evaluation)
    found = [(each.support, each.precision, each.recall, each.f1) for each in scores]
    expected = [(3, 2 / 3, 2 / 3, 2 / 3), (2, 1 / 2, 1 / 2, 1 / 2), (0, math.nan, math.nan, math.nan)]
    assert found == [pytest.approx(each, nan_ok=True) for each in expected]
    assert scores[1].recall_interval == wilson_interval(1, 2)
    assert scores[2].recall_interval == (0, 1)
    _, second = class_scores(evaluation_of([0, 0], [0, 1], [0.9] * 2, classes=2))
    assert math.isnan(second.precision)
    assert (second.recall, second.f1) == (0, 0)


def test_confusions_have_labels_in_rows_predictions_in_columns_and_most_frequent_pairs_first():
    counts = confusions(evaluation_of([1, 1, 0], [0, 0, 0], [0.9] * 3, classes=3))
    np.testing.assert_array_equal(counts, [[1, 2, 0], [0, 0, 0], [0, 0, 0]])
    assert confused_pairs(np.array([[9, 0, 2], [5, 9, 0], [0, 2, 9]])) == [(1, 0, 5), (0, 2, 2), (2, 1, 2)]
    assert confused_pairs(np.diag([4, 4])) == []


def test_the_surest_mistakes_come_first():
    evaluation = evaluation_of([0, 1, 0, 1], [1, 1, 1, 0], [0.6, 0.99, 0.9, 0.8], classes=2)
    assert confident_mistakes(evaluation).tolist() == [2, 3, 0]


def test_calibration_is_counted_by_hand():
    # Of two images 0.95 sure, one right; of two 0.6 sure, both right: (|1 - 1.9| + |2 - 1.2|) / 4.
    evaluation = evaluation_of([0, 0, 1, 1], [0, 1, 1, 1], [0.95, 0.95, 0.6, 0.6], classes=2)
    bins = [(each.count, each.right, each.confidence) for each in calibration_bins(evaluation)]
    assert bins == [pytest.approx((2, 2, 0.6)), pytest.approx((2, 1, 0.95))]
    assert expected_calibration_error(evaluation) == pytest.approx((0.9 + 0.8) / 4)
    (only,) = calibration_bins(evaluation_of([0, 1], [0, 1], [1.0, 1.0], classes=2))
    assert (only.count, only.right, only.confidence) == (2, 2, 1.0)


def test_a_calibrated_model_has_hardly_an_error_and_an_overconfident_one_has():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 40_000)
    right = rng.random(40_000) < sure
    honest = evaluation_of(np.where(right, 1, 0), np.ones(40_000, int), sure, classes=2)
    boasting = evaluation_of(np.where(right, 1, 0), np.ones(40_000, int), np.full(40_000, 0.99), classes=2)
    assert expected_calibration_error(honest) < 0.01
    assert expected_calibration_error(boasting) == pytest.approx(0.24, abs=0.01)
