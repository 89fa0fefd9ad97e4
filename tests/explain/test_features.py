import keras
import numpy as np
from explain.plain import TOLERANCE

from vit_keras.explain import block_features, feature_extractor
from vit_keras.explain.block_record import compute_shared_bias
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model


def test_features_are_the_outputs_of_blocks(family):
    model, images, _ = family
    config = model_config(model)
    tokens = block_features(model, images, blocks=[0, -1], batch_size=2)
    assert tokens.shape == (2, 3, config.num_tokens, config.hidden_dim)
    parts = read_model(model)
    output = parts.blocks[1](tokens[0], attention_bias=compute_shared_bias(parts))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(output), tokens[1], **TOLERANCE)
    grids = block_features(model, images, as_grid=True)
    np.testing.assert_allclose(grids[0, :, 1, 2], tokens[1, :, config.num_prefix_tokens + 6], **TOLERANCE)
    extractor = feature_extractor(model, blocks=[0, 1])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(extractor(images)[1]), tokens[1], **TOLERANCE)
