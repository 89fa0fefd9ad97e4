import json

import keras
import numpy as np

from vit_keras.training.losses.crossentropy import SmoothedCrossentropy
from vit_keras.training.losses.metrics import Accuracy


def test_accuracy_takes_labels_and_mixed_targets_and_survives_json(rng):
    logits, labels = rng.normal(size=(6, 5)).astype("float32"), np.array([0, 1, 2, 3, 4, 0])
    targets = 0.7 * np.eye(5)[labels] + 0.3 * np.eye(5)[labels[::-1]]
    predicted = logits.argmax(axis=1)
    metric = keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(Accuracy()))))
    assert (type(metric), metric.name) == (Accuracy, "accuracy")
    for y_true in (labels, labels.reshape(6, 1), targets):
        metric.reset_state()
        metric.update_state(y_true, logits)
        np.testing.assert_allclose(metric.result(), (labels == predicted).mean())
    metric.update_state(predicted, logits)  # labels after targets
    np.testing.assert_allclose(metric.result(), ((labels == predicted).mean() + 1) / 2)


def test_keras_accuracy_still_mistakes_labels_for_targets():
    """The reason for ours: if this fails, it may go."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3, kernel_initializer="zeros")])
    model.compile(loss=SmoothedCrossentropy(), metrics=["accuracy", Accuracy(name="ours")], run_eagerly=True)
    model.layers[0].bias.assign([0.0, 0.0, 1.0])  # predicts class 2
    x, labels = np.zeros((3, 1)), np.array([2, 2, 2])
    found = [model.evaluate(x, given, verbose=0, return_dict=True) for given in (np.eye(3)[labels], labels)]
    assert [numbers["ours"] for numbers in found] == [1, 1]
    assert [numbers["accuracy"] for numbers in found] == [1, 0]
