import numpy as np
import oracle

from vit_keras.layers import LayerScale


def test_scales_every_channel_by_its_own_factor_from_the_initial_value():
    scale = LayerScale(1e-5)
    np.testing.assert_allclose(oracle.call(scale, oracle.tokens()), oracle.tokens() * 1e-5, rtol=1e-6)
    scale.gamma.assign(np.arange(8))
    np.testing.assert_allclose(oracle.call(scale, oracle.tokens()), oracle.tokens() * np.arange(8), rtol=1e-6)
