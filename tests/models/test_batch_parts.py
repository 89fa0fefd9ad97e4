"""A step that is divided into parts gives what an undivided one does."""

import keras
import numpy as np
import pytest

import vit_keras as vk
from vit_keras.models.batch_parts import run_in_parts
from vit_keras.models.keras_model import VisionTransformer

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow divides steps")

CONFIG = vk.ViTConfig(image_size=16, patch_size=4, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
STEMS = {"patch": CONFIG, "conv": CONFIG.replace(stem="conv", class_token=False, pooling="mean")}
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3)).astype("uint8")
LABELS = np.arange(7) % 3


def make(stem="patch"):
    keras.utils.set_random_seed(0)
    model = vk.vit(STEMS[stem], num_classes=3)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(model):
    """Returns what training and evaluation give: losses, weights, predictions."""
    history = model.fit(IMAGES, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    loss = model.evaluate(IMAGES, LABELS, batch_size=4, verbose=0)
    outputs = model.predict(IMAGES, batch_size=4, verbose=0)
    return [*history, loss], model.get_weights(), outputs


@pytest.mark.parametrize(("stem", "count"), [("conv", 2), ("patch", 3)])
def test_losses_weights_and_predictions_are_equal(divide, stem, count):
    expected = train(make(stem))
    divide(count)
    for found, whole in zip(train(make(stem)), expected, strict=True):
        for one, other in zip(found, whole, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_there_may_be_fewer_images_than_parts(divide):
    model = make()
    expected = model.predict(IMAGES, verbose=0)
    divide(4)
    model.make_predict_function(force=True)
    np.testing.assert_allclose(model.predict(IMAGES[:1], verbose=0), expected[:1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(IMAGES[:3], verbose=0), expected[:3], rtol=1e-5, atol=1e-6)


class SubtractMean(keras.layers.Layer):
    """Compares an image with the others of its batch."""

    def call(self, features):
        return features - keras.ops.mean(features, axis=0, keepdims=True)


class Norm(keras.layers.Layer):
    """Returns one number for the whole batch."""

    def call(self, features):
        return keras.ops.mean(keras.ops.square(features))


class Divide(keras.layers.Layer):
    def call(self, features, norm):
        return features / (1 + norm)


def divide_by_norm(features):
    return Divide()(features, Norm()(features))


@pytest.mark.parametrize(
    "layer",
    [
        lambda features: SubtractMean()(features),
        lambda features: keras.layers.BatchNormalization(momentum=0.5)(features),
        divide_by_norm,
    ],
)
def test_a_layer_that_may_look_at_the_whole_batch_gets_it(divide, layer):
    def make_model():
        encoder = make()
        model = VisionTransformer(encoder.inputs, layer(encoder.outputs[0]))
        model.compile(keras.optimizers.SGD(0.1), "mean_squared_error")
        model.fit(IMAGES, np.zeros((7, 3)), batch_size=7, epochs=2, verbose=0)
        return model.predict(IMAGES, verbose=0)

    expected = make_model()
    divide(2)
    np.testing.assert_allclose(make_model(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stem", STEMS)
def test_a_masked_autoencoder_learns_the_same(divide, stem):
    def pretrain():
        keras.utils.set_random_seed(0)
        model = vk.pretraining.MaskedAutoencoder(vk.vit(STEMS[stem]))
        model.compile(keras.optimizers.SGD(0.1))
        losses = model.fit(IMAGES, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
        return [losses, *model.get_weights()]

    expected = pretrain()
    divide(2)
    for one, other in zip(pretrain(), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "options", "traced"),
    [(2, {}, 2), (3, {}, 3), (1, {}, 1), (2, {"jit_compile": True}, 1)],
)
def test_parts_are_traced_where_they_run_side_by_side(divide, monkeypatch, count, options, traced):
    """XLA computes one operation after the other, so a step that it compiles stays whole."""
    model = make()
    model.compile("sgd", "sparse_categorical_crossentropy", **options)
    block = next(layer for layer in model.layers if layer.name == "block_00")
    call, rows = block.call, []

    def count_rows(tokens, *arguments, **named):
        rows.append(tokens.shape[0])
        return call(tokens, *arguments, **named)

    monkeypatch.setattr(block, "call", count_rows)
    divide(count)
    model.train_on_batch(IMAGES[:6], LABELS[:6])
    assert len(rows) == traced


def test_outside_a_step_nothing_is_divided(divide):
    divide(2)
    calls = []

    def double(tensor):
        calls.append(tensor.shape[0])
        return 2 * tensor

    assert run_in_parts(double, keras.ops.ones((4, 2))).shape == (4, 2)
    assert calls == [4]
