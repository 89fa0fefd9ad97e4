import numpy as np
import pytest
from contracts import copy_of
from keras import ops
from pretraining.mae.numpy_autoencoder import decoder_positions

from vit_keras.errors import InvalidArgumentError
from vit_keras.pretraining.mae.decoder import MaskedPatchDecoder


def test_positions_are_the_authors_and_do_not_train():
    decoder = MaskedPatchDecoder(8, num_layers=1, num_heads=2, patch_dim=3, grid_size=(2, 3), num_prefix_tokens=2)
    decoder.build((None, 4, 16))
    found = ops.convert_to_numpy(decoder.positions)[0]
    np.testing.assert_allclose(found, decoder_positions(2, 3, 8, 2), atol=1e-6)
    np.testing.assert_allclose(found[3], [0.84147, 0.01, 0.54030, 0.99995, 0, 0, 1, 1], atol=1e-5)
    assert not decoder.positions.trainable


@pytest.mark.any_backend
def test_the_config_has_every_argument():
    decoder = MaskedPatchDecoder(8, num_layers=1, num_heads=2, patch_dim=3, grid_size=(2, 3), activation="silu")
    assert copy_of(decoder).get_config() == decoder.get_config()
    with pytest.raises(InvalidArgumentError, match="positive integers, not num_layers=0"):
        MaskedPatchDecoder(8, num_layers=0, num_heads=2, patch_dim=3, grid_size=(2, 3))
