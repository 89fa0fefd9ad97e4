import keras
import numpy as np
import oracle
import pytest
from explain.families import FAMILIES, small_model
from explain.plain import TOLERANCE, expected_rollout, plain_blocks

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.explain import attention_maps, attention_rollout
from vit_keras.explain.logits import compute_pooling_attention
from vit_keras.models.vit import model_config, vit


def test_rollout_is_that_of_plain_numpy(family):
    model, images, plain = family
    expected = expected_rollout(model_config(model), plain["maps"].mean(2), plain["pooled"])
    found = attention_rollout(model, images, batch_size=2)
    assert found.shape == (3, 3, 4)
    np.testing.assert_allclose(found, expected, **TOLERANCE)


@pytest.mark.parametrize(("fusion", "rate"), [("max", 0.0), ("min", 0.3)])
@pytest.mark.parametrize("pooling", ["token", "map"])
def test_heads_are_fused_and_small_weights_left_out_as_asked_for(fusion, rate, pooling):
    model = small_model(next(name for name, config in FAMILIES.items() if config.pooling == pooling))
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3)).astype("float32")
    plain = plain_blocks(model, images)
    # What is left out hangs on the last bits of the smallest weights: those of the maps that were compared above.
    maps = attention_maps(model, images, batch_size=2) if rate else plain["maps"]
    fused = {"mean": np.mean, "max": np.max, "min": np.min}[fusion](maps, axis=2)
    count = int(rate * fused.shape[-1])
    kept = fused * (fused > np.sort(fused, axis=-1)[..., count - 1 : count]) if count else fused
    expected = expected_rollout(model_config(model), kept, plain["pooled"])
    found = attention_rollout(model, images, fusion=fusion, discard_rate=rate, batch_size=2)
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_one_image_is_a_batch_of_one(model, images):
    np.testing.assert_allclose(attention_rollout(model, images[0])[0], attention_rollout(model, images)[0], **TOLERANCE)


def test_rollout_gives_no_weight_to_tokens_that_attention_pooling_skips():
    config = ViTConfig(
        image_size=16, patch_size=4, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=24, num_registers=1,
        pooling="map", map_includes_prefix=False,
    )  # fmt: skip
    model = oracle.randomize(vit(config), seed=4)
    tokens = np.random.default_rng(0).normal(size=(2, 18, 16)).astype("float32")
    shares = keras.ops.convert_to_numpy(compute_pooling_attention(model, keras.ops.convert_to_tensor(tokens)))
    assert shares.shape == (2, 2, 18)
    assert not shares[..., :2].any()
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
    images = np.random.default_rng(1).uniform(0, 255, size=(2, 16, 16, 3)).astype("float32")
    assert attention_rollout(model, images).shape == (2, 4, 4)


@pytest.mark.parametrize("argument", [{"fusion": "median"}, {"discard_rate": 1.0}])
def test_wrong_arguments_are_refused(model, images, argument):
    with pytest.raises(InvalidArgumentError, match=next(iter(argument))):
        attention_rollout(model, images, **argument)
