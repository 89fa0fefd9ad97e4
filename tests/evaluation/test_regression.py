import math

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from vit_keras.evaluation.regression import RegressionEvaluation, largest_errors

pytestmark = pytest.mark.any_backend


@pytest.fixture
def evaluation():
    rng = np.random.default_rng(0)
    labels = rng.normal([500, 0.01], [80, 0.004], (300, 2)).astype("float32")
    predictions = labels + rng.normal([5, 0], [30, 0.002], (300, 2))
    return RegressionEvaluation(predictions, labels, ("weight", "density"))


def test_the_metrics_are_those_of_scikit_learn(evaluation):
    labels, predictions = evaluation.labels.astype("float64"), evaluation.predictions
    assert evaluation.r2 == pytest.approx(r2_score(labels, predictions))
    for column, target in enumerate(evaluation.targets):
        pair = labels[:, column], predictions[:, column]
        assert target.r2 == pytest.approx(r2_score(*pair))
        assert target.mean_absolute_error == pytest.approx(mean_absolute_error(*pair))
        assert target.root_mean_squared_error == pytest.approx(root_mean_squared_error(*pair))
        assert target.bias == pytest.approx((pair[1] - pair[0]).mean())
        low, high = target.mean_absolute_error_interval
        sizes = np.abs(pair[1] - pair[0])
        assert (high - low) / 2 == pytest.approx(1.959964 * sizes.std() / math.sqrt(300))
    assert list(evaluation.summary()) == [
        "r2", "mean_absolute_error of weight", "root_mean_squared_error of weight", "mean_absolute_error of density",
        "root_mean_squared_error of density",
    ]  # fmt: skip
    assert [target["name"] for target in evaluation.to_dict()["targets"]] == ["weight", "density"]


def test_equal_labels_have_no_r2():
    evaluation = RegressionEvaluation(np.array([[1.0], [2.0]]), np.array([[1.0], [1.0]]), ("age",))
    assert math.isnan(evaluation.r2)
    assert evaluation.to_dict()["r2"] is None
    assert list(evaluation.summary()) == ["r2", "mean_absolute_error", "root_mean_squared_error"]


def test_the_largest_errors_are_compared_by_the_spread_of_each_target():
    labels = np.array([[0.0, 0.0], [100.0, 1.0], [200.0, 2.0], [300.0, 3.0]])
    predictions = labels + np.array([[1.0, 0.0], [0.0, 0.9], [50.0, 0.0], [0.0, 0.0]])
    evaluation = RegressionEvaluation(predictions, labels, ("a", "b"))
    assert largest_errors(evaluation).tolist() == [1, 2, 0, 3]
