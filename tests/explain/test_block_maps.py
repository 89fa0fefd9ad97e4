import numpy as np
import pytest
from explain.plain import TOLERANCE, expected_rollout, seen

from vit_keras.errors import DataError
from vit_keras.explain.block_maps import BlockMapper
from vit_keras.models.vit import model_config


def test_attention_and_rollout_of_every_block_are_those_of_plain_numpy(family):
    model, images, plain = family
    config, fused, pooled = model_config(model), plain["maps"].mean(2), plain["pooled"]
    found = BlockMapper(model)(images[0])
    assert found.attention.shape == found.rollout.shape == (2, 3, 4)
    probe = None if pooled is None else pooled[0].mean(0)
    for block in range(2):
        np.testing.assert_allclose(found.attention[block], seen(config, fused[block, 0], probe), **TOLERANCE)
        expected = expected_rollout(config, fused[: block + 1], pooled)[0]
        np.testing.assert_allclose(found.rollout[block], expected, **TOLERANCE)
    assert "token" in found.query if config.pooling.startswith("token") else "patch" in found.query


def test_several_images_are_refused(model, images):
    with pytest.raises(DataError, match="those of one image, not 2"):
        BlockMapper(model)(images)
