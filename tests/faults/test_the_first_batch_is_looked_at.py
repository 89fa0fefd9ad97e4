"""Pixels that are not 0..255, and an accuracy without meaning: warned of once, from the first batch."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import only_elsewhere, some_elsewhere
from contracts import JIT

import vit_keras as vk
from vit_keras.models.keras_model import VisionTransformer

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
SMALL = CONFIG.replace(pixel_mean=(0.5 / 255,), pixel_std=(0.5 / 255,))  # takes pixels 0..1
WRONG = "pixels 0..255"


@pytest.fixture(autouse=True)
def _messages(caplog):
    caplog.set_level(logging.WARNING)


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (12, 16, 16, 3)).astype("float32")


def model_of(config=CONFIG, *, num_classes=3, metrics=None, loss=None):
    model = vk.vit(config, num_classes=num_classes)
    model.compile(
        "sgd", loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=metrics, jit_compile=JIT
    )
    return model


def said(caplog):
    """What was warned of, TensorFlow's own words on tracing apart."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("vit_keras")]


class Batches(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels = images, labels

    def __len__(self):
        return 3

    def __getitem__(self, index):
        place = slice(4 * index, 4 * index + 4)
        return self.images[place], self.labels[place]


FORMS = {
    "arrays": lambda images, labels: {"x": images, "y": labels, "batch_size": 4},
    "dataset": lambda *arrays: {"x": tf.data.Dataset.from_tensor_slices(arrays).batch(4)},
    "sequence": lambda *arrays: {"x": Batches(*arrays)},
}


@pytest.mark.parametrize("form", only_elsewhere(FORMS, "dataset"))
def test_pixels_from_0_to_1_are_warned_of_once(form, pixels, caplog):
    model, given = model_of(), FORMS[form](pixels / 255, np.arange(12) % 3)
    model.fit(**given, epochs=2, verbose=0)
    model.evaluate(**given, verbose=0)
    assert [WRONG in message for message in said(caplog)] == [True]
    assert "nearly all pixels are from 0 to 1" in caplog.text


@pytest.mark.parametrize("use", ["evaluate", "predict", "train_on_batch"])
def test_wherever_they_are_seen_first(use, pixels, caplog):
    targets, options = () if use == "predict" else (np.arange(12) % 3,), {"verbose": 0}
    getattr(model_of(), use)(pixels / 255, *targets, **({} if use == "train_on_batch" else options))
    assert [WRONG in message for message in said(caplog)] == [True]


@pytest.mark.any_backend
def test_explaining_a_model_that_is_built_for_them_takes_them(pixels):
    small, usual = (vk.vit(config) for config in (SMALL, CONFIG))
    small.set_weights(usual.get_weights())
    found, expected = vk.explain.block_features(small, pixels / 255), vk.explain.block_features(usual, pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_trained_on_otherwise_for_the_look(pixels):
    labels, runs = np.arange(12) % 3, []
    for images in (pixels.astype("uint8"), pixels):  # no look is needed at integers
        keras.utils.set_random_seed(1)
        model = model_of()
        history = model.fit(**FORMS["dataset"](images, labels), epochs=2, verbose=0).history["loss"]
        runs.append((history, [keras.ops.convert_to_numpy(weight) for weight in model.weights]))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-6)
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch traces nothing")
def test_a_later_batch_costs_nothing(pixels, monkeypatch):
    traced, step = [], VisionTransformer.train_step
    monkeypatch.setattr(
        VisionTransformer, "train_step", lambda self, *given: traced.append("train_step") or step(self, *given)
    )
    model = model_of()
    model.fit(pixels / 255, np.arange(12) % 3, batch_size=4, epochs=2, verbose=0)
    assert traced == ["train_step"]
    assert "check" not in model.train_function.__qualname__


def test_a_model_for_other_pixels_takes_them_without_a_word(pixels, caplog):
    model_of(SMALL).predict(pixels / 255, verbose=0)
    model_of().predict(pixels, verbose=0)
    assert not said(caplog)


SEVERAL = np.tile(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], "float32"), (4, 1))


@pytest.mark.parametrize(
    ("targets", "metric", "is_wrong"),
    some_elsewhere(
        [
            (SEVERAL, "accuracy", True),
            (SEVERAL, keras.metrics.CategoricalAccuracy("mine"), True),
            (SEVERAL, keras.metrics.TopKCategoricalAccuracy(2), True),
            (SEVERAL, keras.metrics.BinaryAccuracy(threshold=0.0), False),
            (np.eye(3, dtype="float32")[np.arange(12) % 3], "accuracy", False),
            (np.full((12, 3), 1 / 3, "float32"), "accuracy", False),  # mixed
        ],
        every=3,
    ),
)
def test_an_accuracy_of_several_classes_an_image_is_warned_of_once(targets, metric, is_wrong, pixels, caplog):
    model = model_of(loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=[metric])
    model.fit(pixels, targets, batch_size=4, epochs=2 if is_wrong else 1, verbose=0)
    assert ["BinaryAccuracy(threshold=0.0)" in message for message in said(caplog)] == [True] * is_wrong
