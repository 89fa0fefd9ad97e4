import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.losses.multi_label import MeanAveragePrecision, MultiLabelCrossentropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype("float32") * 3
TARGETS = RNG.integers(0, 2, (6, 4)).astype("float32")


def crossentropy(targets, logits, weights=1.0):
    probabilities = 1 / (1 + np.exp(-logits.astype("float64")))
    return -(weights * targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities)).mean(axis=1)


def test_the_loss_is_the_mean_over_the_classes_also_of_mixed_targets():
    for targets in (TARGETS, 0.3 * TARGETS + 0.7 * TARGETS[::-1]):
        found = MultiLabelCrossentropy(reduction="none")(targets, LOGITS)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), crossentropy(targets, LOGITS), rtol=1e-5)


def test_smoothing_is_that_of_keras_and_weights_are_for_images_with_the_class():
    loss = MultiLabelCrossentropy(0.2)(TARGETS, LOGITS)
    expected = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)(TARGETS, LOGITS)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    weights = [1.0, 2.0, 5.0, 0.5]
    loss = MultiLabelCrossentropy(class_weights=weights)(TARGETS, LOGITS)
    assert float(loss) == pytest.approx(crossentropy(TARGETS, LOGITS, np.array(weights)).mean(), rel=1e-5)


def test_other_shapes_are_refused_and_the_loss_can_be_saved():
    with pytest.raises(
        InvalidArgumentError, match=r"a multi-label model of 4 classes needs 0/1 labels of shape \(batch, 4\)"
    ):
        MultiLabelCrossentropy()(np.zeros(6), LOGITS)
    with pytest.raises(InvalidArgumentError, match="There are 2 class_weights for 4 classes"):
        MultiLabelCrossentropy(class_weights=[1, 2])(TARGETS, LOGITS)
    loss = MultiLabelCrossentropy(0.1, class_weights=[1, 2, 3, 4])
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()


def test_the_metric_is_close_to_scikit_learns_and_mixed_targets_count_from_a_half_on():
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (400, 3)).astype("float32")
    logits = (2 * targets - 1 + rng.normal(size=targets.shape) * 1.5).astype("float32")
    expected = average_precision_score(targets, logits, average="macro")
    metric = MeanAveragePrecision()
    for part in (slice(0, 200), slice(200, 400)):
        metric.update_state(0.6 * targets[part] + 0.2, logits[part])
    assert float(metric.result()) == pytest.approx(expected, abs=0.01)
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    again.update_state(targets, logits)
    assert float(again.result()) == pytest.approx(float(metric.result()), abs=1e-6)
