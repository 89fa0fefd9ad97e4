"""Every field of a config computes the same in a SavedModel; the answers for files are tested in `test_saved_model`."""

import keras
import numpy as np
import pytest
from explain.families import COVERING, small_model

import vit_keras as vk
from vit_keras.zoo.load_model import open_model

if keras.backend.backend() != "tensorflow":
    pytest.skip("SavedModels are written in a TensorFlow process", allow_module_level=True)

import tensorflow as tf

from vit_keras.exporting.conversion.serving_graph import save


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERING)
def test_every_field_is_saved(name, tmp_path):
    model = small_model(name)
    config = vk.model_config(model)
    save(open_model(model), tmp_path / "served", output="logits", with_files=False)
    images = np.random.default_rng(1).integers(0, 256, (3, *config.image_size, config.channels), "uint8")
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    found = loaded.signatures["serving_default"](images=tf.constant(images))["logits"]
    np.testing.assert_allclose(found, model(images.astype("float32"), training=False), atol=1e-5)
