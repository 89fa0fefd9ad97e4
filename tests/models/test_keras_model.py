import keras
import numpy as np
import pytest

from vit_keras import ViTConfig, vit
from vit_keras.models.keras_model import VisionTransformer

CONFIG = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32, dropout_rate=0.1, stochastic_depth_rate=0.1)  # fmt: skip
STEPS = 3 if keras.backend.backend() == "jax" else 1  # on TensorFlow Keras traces every step of a call


def train(*, steps_per_execution, images=72, batch_size=8, epochs=1):
    """Returns a trained model and its history."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (images, 16, 16, 3)).astype("uint8"), rng.integers(0, 3, images)
    model = vit(CONFIG, num_classes=3)
    model.compile(
        keras.optimizers.AdamW(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        steps_per_execution=steps_per_execution,
    )  # fmt: skip
    return model, model.fit(pixels, labels, batch_size=batch_size, epochs=epochs, verbose=0, shuffle=False)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras runs one step at a time on torch")
def test_several_steps_at_once_are_those_steps():
    # 15 batches of 8 and one of 6: three calls of 4, then four single steps
    one, alone = train(steps_per_execution=1, images=126)
    several, together = train(steps_per_execution=4, images=126)
    for ours, theirs in zip(several.weights, one.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=ours.path)
    for ours, theirs in zip(several.optimizer.variables, one.optimizer.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=ours.path)
    for name, values in alone.history.items():
        np.testing.assert_allclose(together.history[name], values, rtol=1e-4, err_msg=name)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only Keras' loop on JAX calls the device once per step")
def test_the_device_is_called_once_for_several_steps(monkeypatch):
    import jax

    calls = []
    jit = jax.jit

    def counting(function, **arguments):
        compiled = jit(function, **arguments)

        def call(*operands):
            calls.append(function.__name__)
            return compiled(*operands)

        return call

    monkeypatch.setattr(jax, "jit", counting)
    train(steps_per_execution=4)  # 9 batches
    assert [name for name in calls if name in ("scanned", "train_step")] == ["scanned", "scanned", "train_step"]


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch traces nothing")
def test_each_step_is_traced_once(monkeypatch):
    traced = []
    for method in (VisionTransformer.train_step, VisionTransformer.test_step):

        def noting(self, *given, method=method):
            traced.append(method.__name__)
            return method(self, *given)

        monkeypatch.setattr(VisionTransformer, method.__name__, noting)
    model, _ = train(steps_per_execution=STEPS, epochs=2)  # 9 batches
    model.evaluate(np.zeros((8, 16, 16, 3)), np.zeros(8), batch_size=8, verbose=0)
    assert traced == ["train_step", "test_step"]
