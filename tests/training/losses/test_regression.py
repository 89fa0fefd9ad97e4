import keras
import numpy as np
import pytest
from sklearn.metrics import r2_score

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.losses.regression import R2, ScaledError

RNG = np.random.default_rng(0)
LABELS = RNG.normal([1e6, 0.5], [10, 0.1], (50, 2)).astype("float32")
PREDICTIONS = LABELS + RNG.normal(0, [6, 0.15], (50, 2)).astype("float32")
MEAN, SCALE = (1e6, 0.5), (10.0, 0.1)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("mean_squared_error", np.square),
        ("mean_absolute_error", np.abs),
        ("huber", lambda error: np.where(np.abs(error) <= 1, error**2 / 2, np.abs(error) - 0.5)),
    ],
)
def test_the_loss_is_of_errors_divided_by_the_scale(kind, size):
    expected = size((PREDICTIONS - LABELS) / np.array(SCALE)).mean(axis=1)
    found = ScaledError(kind, scale=SCALE, reduction="none")(LABELS, PREDICTIONS)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4)


def test_one_target_may_have_labels_without_a_column_and_other_shapes_are_refused():
    assert float(ScaledError()(np.array([1.0, 3.0]), np.array([[2.0], [5.0]]))) == pytest.approx(2.5)
    with pytest.raises(InvalidArgumentError, match=r"a regression of 2 targets needs \(batch, 2\)"):
        ScaledError()(np.zeros(50), PREDICTIONS)
    loss = ScaledError("huber", scale=SCALE)
    assert keras.losses.deserialize(keras.losses.serialize(loss)).get_config() == loss.get_config()


def test_r2_is_scikit_learns_over_batches_though_the_mean_is_large():
    metric = R2(MEAN, SCALE)
    for part in (slice(0, 30), slice(30, 50)):
        metric.update_state(LABELS[part], PREDICTIONS[part])
    expected = r2_score(LABELS.astype("float64"), PREDICTIONS.astype("float64"))
    assert float(metric.result()) == pytest.approx(expected, abs=1e-4)
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.get_config() == metric.get_config()
    metric.reset_state()
    metric.update_state(LABELS, LABELS)
    assert float(metric.result()) == 1
