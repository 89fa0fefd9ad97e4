import keras
import numpy as np
import pytest
from contracts import JIT
from keras import ops

from vit_keras.models.vit import vit
from vit_keras.pretraining import PretrainingModel


class BrightnessModel(PretrainingModel):
    """Learns the mean brightness of an image from its features."""

    def __init__(self, encoder):
        super().__init__(encoder, tracked=("brightness",), untrained=("final_norm",))
        self.predict_brightness = keras.layers.Dense(1)
        self.predict_brightness.build((None, 16))

    def call(self, images, training=None):
        brightness = ops.mean(ops.cast(images, "float32"), axis=(1, 2, 3)) / 255
        error = self.predict_brightness(self.encoder(images, training=training))[:, 0] - brightness
        return {"loss": ops.square(error), "brightness": brightness}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("uint8")


def test_fit_minimizes_the_loss_and_tracks_means_and_leaves_unreached_layers_alone(tiny_config, images):
    encoder = vit(tiny_config.replace(num_layers=1))
    model = BrightnessModel(encoder)
    assert model.encoder is encoder
    norm = [ops.convert_to_numpy(weight).copy() for weight in encoder.get_layer("final_norm").weights]
    names = {weight.path for weight in model.trainable_variables}
    assert "final_norm/gamma" not in names
    assert "patch_encoder/projection/kernel" in names
    assert len(model.weights) == len(encoder.weights) + 2
    model.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.5), jit_compile=JIT)
    labels = np.arange(8)
    history = model.fit(images, labels, validation_data=(images, labels), batch_size=4, epochs=3, verbose=0).history
    assert set(history) == {"loss", "brightness", "val_loss", "val_brightness"}
    np.testing.assert_allclose(history["val_brightness"], images.mean() / 255, rtol=1e-5)
    losses = [ops.convert_to_numpy(model(images[k : k + 4])["loss"]) for k in (0, 4)]
    np.testing.assert_allclose(history["val_loss"][-1], np.mean(losses), rtol=1e-4)
    for before, after in zip(norm, encoder.get_layer("final_norm").weights, strict=True):
        np.testing.assert_array_equal(before, ops.convert_to_numpy(after))
