import keras
import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config, model_num_classes, vit
from vit_keras.pretraining.base.encoder import remove_head

pytestmark = pytest.mark.any_backend


def test_a_model_without_head_is_trained_in_place(tiny_config):
    model = vit(tiny_config)
    assert remove_head(model) is model


def test_a_copy_is_trained_without_a_head_and_own_layers_and_that_is_logged(tiny_model, caplog):
    own = keras.Sequential([tiny_model, keras.layers.Dense(5, name="mine")])
    for model, named in ((tiny_model, "'head'"), (own, "'head', 'mine'")):
        caplog.clear()
        encoder = remove_head(model)
        assert named in caplog.text
        assert model_num_classes(encoder) is None
        assert model_config(encoder) == model_config(tiny_model)
        kernel = "patch_encoder/projection/kernel"
        theirs, ours = ({w.path: w for w in each.weights}[kernel] for each in (tiny_model, encoder))
        np.testing.assert_array_equal(theirs.numpy(), ours.numpy())
        assert theirs is not ours


def test_a_frozen_model_is_refused(tiny_config):
    model = vit(tiny_config)
    model.trainable = False
    with pytest.raises(InvalidArgumentError, match=r"All weights of 'vit' are frozen.*trainable = True"):
        remove_head(model)
