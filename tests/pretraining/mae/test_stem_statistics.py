import numpy as np
import oracle
import pytest
from keras import ops

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.pretraining import MaskedAutoencoder

CONFIG = ViTConfig(
    image_size=8,
    patch_size=4,
    hidden_dim=8,
    num_layers=1,
    num_heads=1,
    mlp_dim=8,
    class_token=False,
    pooling="mean",
    stem="conv",
)


def test_batch_norms_are_those_of_whole_images(rng):
    model = MaskedAutoencoder(oracle.randomize(vit(CONFIG)))
    images = rng.integers(0, 256, (7, 8, 8, 3)).astype("uint8")
    model.finish([(images[:3], None), images[3:]])
    weights = oracle.part(oracle.weights_of(model.encoder), "conv_stem")
    cells = oracle.pixel_normalization(images, (0.5,), (0.5,))
    for index in range(2):  # a stem of one convolution whose norm does nothing gives what the norm gets
        convolution = {"convolution_0/kernel": weights[f"convolution_{index}/kernel"]}
        nothing = {"gamma": 1, "beta": 1e3, "moving_mean": 0, "moving_variance": 1 - 1e-5}
        inside = (
            oracle.conv_stem(cells, 2, {**convolution, **{f"norm_0/{name}": value for name, value in nothing.items()}})
            - 1e3
        )
        oracle.assert_close(weights[f"norm_{index}/moving_mean"], inside.mean((0, 1)), 1e-4)
        oracle.assert_close(weights[f"norm_{index}/moving_variance"], inside.var((0, 1)), 1e-4)
        side = cells.shape[1] // 2
        norm = oracle.part(weights, f"norm_{index}")
        cells = oracle.conv_stem(cells, 2, {**convolution, **{f"norm_0/{name}": value for name, value in norm.items()}})
        cells = cells.reshape(len(images), side, side, -1)


def test_frozen_norms_stay_and_no_images_are_refused(rng):
    model = MaskedAutoencoder(vit(CONFIG))
    images = rng.integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    norm = model.encoder.get_layer("conv_stem").norms[1]
    norm.trainable = False
    model.finish([images])
    np.testing.assert_array_equal(ops.convert_to_numpy(norm.moving_mean), 0)
    assert ops.convert_to_numpy(model.encoder.get_layer("conv_stem").norms[0].moving_mean).all()
    norm.trainable = True
    for batches in ([], iter([images])):
        with pytest.raises(InvalidArgumentError, match="Give at least one batch, in a list or a"):
            model.finish(batches)
