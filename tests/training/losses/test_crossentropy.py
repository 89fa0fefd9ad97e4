import json

import keras
import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.losses.crossentropy import BinaryCrossentropy, SmoothedCrossentropy

LOSSES = [SmoothedCrossentropy, BinaryCrossentropy]


@pytest.fixture
def logits(rng):
    return rng.normal(size=(6, 5)).astype("float32") * 3


@pytest.fixture
def labels(rng):
    return rng.integers(0, 5, 6)


@pytest.fixture
def mixed(rng, labels):
    """Targets of two classes per image, as from MixUp."""
    share = rng.uniform(0.1, 0.9, (6, 1))
    return (share * np.eye(5)[labels] + (1 - share) * np.eye(5)[labels[::-1]]).astype("float32")


def crossentropy(targets, logits, smoothing):
    logits = logits.astype("float64")
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -(((1 - smoothing) * targets + smoothing / 5) * log).sum(axis=1)


def binary_crossentropy(targets, logits, smoothing):
    """As timm computes it, the mean over the classes."""
    yes = 1 / (1 + np.exp(-logits.astype("float64")))
    targets = (1 - smoothing) * targets + smoothing / 5
    return -(targets * np.log(yes) + (1 - targets) * np.log(1 - yes)).mean(axis=1)


ORACLES = {SmoothedCrossentropy: crossentropy, BinaryCrossentropy: binary_crossentropy}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(("smoothing", "weights"), [(0.0, None), (0.1, None), (0.1, [1.0, 0.5, 2.0, 4.0, 0.1])])
def test_the_weighted_loss_of_labels_and_of_mixed_targets_is_the_papers(
    labels, mixed, logits, kind, smoothing, weights
):
    for y_true, targets in ((labels, np.eye(5)[labels]), (labels.reshape(6, 1), np.eye(5)[labels]), (mixed, mixed)):
        expected = (targets @ (weights or np.ones(5)) * ORACLES[kind](targets, logits, smoothing)).mean()
        loss = kind(smoothing, class_weights=weights)
        assert float(loss(y_true, logits)) == pytest.approx(float(expected), rel=1e-5)


def test_targets_above_the_threshold_become_one(mixed, logits):
    loss = BinaryCrossentropy(0.1, threshold=0.0)(mixed, logits)
    assert float(loss) == pytest.approx(float(binary_crossentropy(mixed > 0, logits, 0.1).mean()), rel=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_an_invalid_label_gives_nan_for_its_image_only(labels, logits, kind):
    expected = ORACLES[kind](np.eye(5)[labels], logits, 0.1)
    expected[2] = np.nan
    for label in (-1, 5, np.nan, np.inf, 1.5):
        wrong = labels.astype("float32")
        wrong[2] = label
        np.testing.assert_allclose(kind(0.1, reduction="none")(wrong, logits), expected, rtol=1e-5)


def test_a_compiled_step_reports_an_invalid_label_and_leaves_the_weights_finite():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), SmoothedCrossentropy(), jit_compile=keras.backend.backend() == "jax")
    images = np.ones((4, 2), "float32")
    assert np.isfinite(model.train_on_batch(images, np.array([0, 1, 2, 0])))
    assert np.isnan(model.train_on_batch(images, np.array([0, 1, 2, 3])))
    assert all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in model.weights)


@pytest.mark.parametrize(
    "loss",
    [SmoothedCrossentropy(0.2, class_weights=(1, 2.5)), BinaryCrossentropy(0.2, class_weights=(1, 2.5), threshold=0.2)],
)
def test_a_loss_survives_json(loss):
    again = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert (again.label_smoothing, again.class_weights) == (0.2, [1.0, 2.5])
    assert getattr(again, "threshold", 0.2) == 0.2


@pytest.mark.parametrize("kind", LOSSES)
def test_wrong_shapes_and_numbers_of_weights_are_refused(logits, labels, kind):
    with pytest.raises(InvalidArgumentError, match=r"shape \(6, 4\); with 5 classes"):
        kind()(np.zeros((6, 4)), logits)
    with pytest.raises(InvalidArgumentError, match="2 class_weights for 5 classes"):
        kind(class_weights=[1, 2])(labels, logits)
