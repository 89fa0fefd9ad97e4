import keras
import numpy as np
from contracts import check_layer

from vit_keras.layers import LayerScale


def test_contract(tmp_path):
    check_layer(LayerScale(0.1), (2, 5, 8), tmp_path)


def test_scales_every_channel_by_its_own_number():
    tokens = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    scale = LayerScale(1e-5)
    scale.build(tokens.shape)
    scale.gamma.assign(np.arange(8))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(scale(tokens)), tokens * np.arange(8), rtol=1e-6)


def test_starts_at_its_initial_value():
    scale = LayerScale(1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(scale(np.ones((1, 1, 3)))), 1e-5, rtol=1e-6)
