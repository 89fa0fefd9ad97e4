"""A loss of probabilities on logits, and the other way round: made right at compile, and said."""

import logging

import keras
import numpy as np
import pytest

import vit_keras as vk
from vit_keras.training.losses.crossentropy import SmoothedCrossentropy

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
LOSSES = keras.losses


def compiled(caplog, loss, *, activation=None, num_classes=3, metrics=None, **changes):
    model = vk.vit(CONFIG.replace(**changes), num_classes=num_classes, classifier_activation=activation)
    with caplog.at_level(logging.WARNING):
        model.compile("adam", loss, metrics=metrics)
    return model


def loss_of(model, targets, outputs):
    tensors = {"y": keras.ops.convert_to_tensor(targets), "y_pred": keras.ops.convert_to_tensor(outputs)}
    return float(model.compute_loss(**tensors))


LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0]], "float32")
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
SIGMOID = 1 / (1 + np.exp(-LOGITS))
LABELS, ONE_HOT = np.array([2, 0]), np.eye(3, dtype="float32")[[2, 0]]
CATEGORICAL = -np.log(SOFTMAX[[0, 1], LABELS]).mean()
BINARY = -(ONE_HOT * np.log(SIGMOID) + (1 - ONE_HOT) * np.log(1 - SIGMOID)).mean()


@pytest.mark.parametrize(
    ("loss", "activation", "targets", "outputs", "expected"),
    [
        ("sparse_categorical_crossentropy", None, LABELS, LOGITS, CATEGORICAL),
        ("SparseCategoricalCrossentropy", None, LABELS, LOGITS, CATEGORICAL),
        (LOSSES.sparse_categorical_crossentropy, None, LABELS, LOGITS, CATEGORICAL),
        (LOSSES.CategoricalCrossentropy(label_smoothing=0.0), None, ONE_HOT, LOGITS, CATEGORICAL),
        (["binary_crossentropy"], None, ONE_HOT, LOGITS, BINARY),
        (LOSSES.SparseCategoricalCrossentropy(from_logits=True), "softmax", LABELS, SOFTMAX, CATEGORICAL),
        (LOSSES.BinaryCrossentropy(from_logits=True), "sigmoid", ONE_HOT, SIGMOID, BINARY),
    ],
)
def test_a_crossentropy_takes_what_the_model_ends_in(loss, activation, targets, outputs, expected, caplog):
    model = compiled(caplog, loss, activation=activation)
    assert loss_of(model, targets, outputs) == pytest.approx(expected, rel=1e-5)
    (message,) = caplog.messages
    assert f"ends in {'probabilities' if activation else 'logits'}" in message
    assert f"from_logits={not activation}" in message


@pytest.mark.parametrize(
    ("loss", "activation", "num_classes"),
    [
        (LOSSES.SparseCategoricalCrossentropy(from_logits=True), None, 3),
        ("binary_crossentropy", "sigmoid", 3),
        ("mse", None, 3),
        (None, None, 3),
        (lambda y_true, y_pred: keras.ops.mean(y_pred), None, 3),
        ("sparse_categorical_crossentropy", None, None),  # features without a head
    ],
)
def test_what_fits_stays_as_it_is_without_a_word(loss, activation, num_classes, caplog):
    model = compiled(caplog, loss, activation=activation, num_classes=num_classes)
    assert model.loss is loss
    assert not caplog.messages


def test_the_loss_of_two_heads_is_right_after_a_file_too(tmp_path, caplog):
    model = compiled(caplog, "sparse_categorical_crossentropy", distillation_token=True)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    caplog.clear()
    for each in (model, keras.saving.load_model(tmp_path / "model.keras")):
        assert loss_of(each, LABELS, LOGITS) == pytest.approx(CATEGORICAL, rel=1e-5)
    assert not caplog.messages


def test_as_in_every_tutorial_it_learns(caplog):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 48)
    images = rng.integers(0, 60, (48, 16, 16, 3)) + 90 * labels[:, None, None, None]
    keras.utils.set_random_seed(0)
    model = compiled(caplog, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.learning_rate = 1e-2
    history = model.fit(images.astype("uint8"), labels, epochs=8, batch_size=16, verbose=0).history
    assert history["loss"][-1] < 0.3
    assert history["accuracy"][-1] > 0.9


@pytest.mark.parametrize("metric", ["accuracy", "binary_accuracy", keras.metrics.BinaryAccuracy(threshold=0.0)])
def test_the_accuracy_of_one_logit_is_cut_at_zero(metric, caplog):
    model = compiled(caplog, "binary_crossentropy", num_classes=1, metrics=[metric])
    logits, targets = np.array([[0.2], [0.4], [-0.1]], "float32"), np.array([[1.0], [1.0], [1.0]], "float32")
    found = model.compute_metrics(None, keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(logits))
    assert float(next(value for name, value in found.items() if "accuracy" in name)) == pytest.approx(2 / 3)


def test_what_cannot_be_corrected_is_warned_of(caplog):
    compiled(caplog, LOSSES.BinaryCrossentropy(from_logits=True), metrics=[keras.metrics.AUC(), keras.metrics.Recall()])
    compiled(caplog, SmoothedCrossentropy(), activation="softmax")
    assert "AUC takes probabilities by default: give it from_logits=True" in caplog.text
    assert "Recall takes probabilities by default: give it thresholds=0.0" in caplog.text
    assert "classifier_activation=None" in caplog.text
