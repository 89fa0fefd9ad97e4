"""What people do with a Keras model and a data set, done with ours in plain Keras."""

import os
import subprocess
import sys

import keras
import numpy as np
import oracle
import pytest

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError

CONFIG = vk.ViTConfig(image_size=32, patch_size=16, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=24)
JIT = keras.backend.backend() == "jax"


@pytest.fixture(scope="module")
def data():
    data = vk.data.load("emoji", limit=64, image_size=32, batch_size=8)
    count = len(data.splits["train"]) // 8 * 8
    assert count >= 16
    return data


def backbone(name="backbone"):
    return oracle.randomize(vk.vit(CONFIG, name=name))


def squared(targets, logits):
    """A loss of the user's own."""
    return keras.ops.mean((logits - keras.ops.cast(targets, "float32")[:, None]) ** 2, axis=-1)


class Largest(keras.metrics.Metric):
    """A metric of the user's own: the largest logit of the epoch."""

    def __init__(self, name="largest", **kwargs):
        super().__init__(name=name, **kwargs)
        self.value = self.add_variable((), initializer=keras.initializers.Constant(-1e9), name="value")

    def update_state(self, targets, logits, sample_weight=None):
        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(logits)))

    def result(self):
        return keras.ops.convert_to_tensor(self.value)

    def reset_state(self):
        self.value.assign(-1e9)


class Steps(keras.callbacks.Callback):
    """A callback of the user's own."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


def test_own_loss_metric_callback_and_class_weights_with_our_batches(data):
    model = keras.Sequential([backbone(), keras.layers.Dense(3, name="mine")])
    model.compile(keras.optimizers.SGD(0.0), squared, metrics=[Largest()], jit_compile=JIT)
    weights = {label: 1.0 + label for label in range(len(data.class_names))}
    steps, batches = Steps(), [(np.asarray(x), np.asarray(y)) for x, y in data.validation]
    history = model.fit(data.validation, class_weight=weights, callbacks=[steps], shuffle=False, verbose=0).history
    losses, logits = [], []
    for images, labels in batches:
        logits.append(keras.ops.convert_to_numpy(model(images)))
        losses.append(
            ((logits[-1] - labels[:, None]) ** 2).mean(axis=-1) * np.array([weights[label] for label in labels])
        )
    assert steps.steps == len(batches)
    expected = np.average([loss.mean() for loss in losses], weights=[len(loss) for loss in losses])
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-4)
    np.testing.assert_allclose(history["largest"][0], max(each.max() for each in logits), rtol=1e-4)


@pytest.mark.slow
def test_our_batches_train_any_model_without_a_warning(data):
    # The tests' settings ignore this warning of Keras: in a new process nothing does.
    code = (
        "import keras, vit_keras as vk\n"
        "data = vk.data.load('emoji', limit=64, image_size=32, batch_size=8)\n"
        "classes = len(data.class_names)\n"
        f"config = vk.ViTConfig(**{CONFIG.to_dict()!r})\n"
        "models = [keras.Sequential([vk.vit(config), keras.layers.Dense(classes)]), vk.vit(config, num_classes=classes)]\n"
        "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)\n"
        "for model in models:\n"
        "    model.compile('sgd', loss, metrics=['accuracy'])\n"
        "    model.fit(data.train, validation_data=data.validation, verbose=0)\n"
        "model.compile('sgd', keras.losses.CategoricalCrossentropy(from_logits=True))\n"
        "batches = data.training_batches(epochs=1, augmentation='medium')\n"
        "model.fit(batches, steps_per_epoch=data.steps_per_epoch, verbose=0)\n"
        "print('trained')\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "error::UserWarning"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, "trained"), done.stderr
    assert "Warning" not in done.stderr
    assert "WARNING:tensorflow" not in done.stderr


def test_a_backbone_over_the_frames_of_a_video(tmp_path):
    body = backbone()
    video = keras.Input((3, 32, 32, 3))
    frames = keras.layers.TimeDistributed(body)(video)
    model = keras.Model(video, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(frames)))
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3)).astype("uint8")
    model.compile("sgd", "mse", jit_compile=JIT)
    model.fit(clips, np.ones((2, 2)), verbose=0)
    found = keras.Model(video, frames).predict(clips, verbose=0)
    single = body.predict(clips.reshape(6, 32, 32, 3), verbose=0).reshape(2, 3, 16)
    np.testing.assert_allclose(found, single, atol=1e-5)
    model.save(tmp_path / "video.keras")
    loaded = keras.saving.load_model(tmp_path / "video.keras")
    np.testing.assert_allclose(loaded.predict(clips, verbose=0), model.predict(clips, verbose=0), atol=1e-6)


def test_two_backbones_in_one_model_keep_their_own_weights(tmp_path):
    towers = [oracle.randomize(vk.vit(CONFIG, name=name), seed=seed) for seed, name in enumerate(("rgb", "infrared"))]
    inputs = [keras.Input(tower.input_shape[1:]) for tower in towers]
    features = [tower(images) for tower, images in zip(towers, inputs, strict=True)]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(features)))
    assert {"rgb", "infrared"} <= {layer.name for layer in model.layers}
    images = [np.random.default_rng(seed).integers(0, 256, (2, *towers[0].input_shape[1:])) for seed in (0, 1)]
    model.compile("sgd", "mse", jit_compile=JIT)
    before = [keras.ops.convert_to_numpy(tower.trainable_weights[0]).copy() for tower in towers]
    model.fit(images, np.ones((2, 2)), verbose=0)
    after = [keras.ops.convert_to_numpy(tower.trainable_weights[0]) for tower in towers]
    assert all((new != old).any() for new, old in zip(after, before, strict=True))
    expected = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-6)
    oracle.randomize(model, seed=5)
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-6)
    for tower, seen in zip(towers, images, strict=True):  # each is a model of its own, too
        vk.save_preset(tower, tmp_path / tower.name)
        alone = vk.from_preset(tmp_path / tower.name, name=tower.name)
        np.testing.assert_allclose(alone.predict(seen, verbose=0), tower.predict(seen, verbose=0), atol=1e-6)


@pytest.mark.any_backend
def test_a_name_or_an_activation_that_is_none_is_refused():
    for name in ("a/b", 3):
        with pytest.raises(InvalidArgumentError, match="is not a model's name"):
            vk.from_preset("test_vit", name=name)
    with pytest.raises(InvalidArgumentError, match="classifier_activation is 'softmx'; expected one of"):
        vk.from_preset("test_vit", num_classes=2, classifier_activation="softmx")


@pytest.mark.any_backend
def test_the_summary_shows_names_and_shapes_and_a_row_per_layer():
    lines = []
    vk.vit(CONFIG, num_classes=3, name="mine").summary(print_fn=lines.append, line_length=100)
    rows = [line.split("│")[1:4] for line in "\n".join(lines).splitlines() if line.startswith("│")]
    found = [(name.split()[0], shape.strip()) for name, shape, _ in rows]
    assert found == [
        ("images", "(None, 32, 32, 3)"),
        ("normalization", "(None, 32, 32, 3)"),
        ("patches", "(None, 4, 768)"),
        ("patch_encoder", "(None, 5, 16)"),
        ("block_00", "(None, 5, 16)"),
        ("final_norm", "(None, 5, 16)"),
        ("pooling", "(None, 16)"),
        ("head", "(None, 3)"),
    ]
    assert 'Model: "mine"' in "\n".join(lines)
