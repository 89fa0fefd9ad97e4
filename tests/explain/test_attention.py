import keras
import numpy as np
import pytest
from explain.families import CLASSES, FAMILIES
from explain.plain import TOLERANCE

from vit_keras.errors import InvalidArgumentError
from vit_keras.explain import attention_maps, attention_rollout, block_features, class_relevance
from vit_keras.models.vit import model_config, vit
from vit_keras.runtime.precision import dtype_policy


def test_maps_are_those_of_plain_numpy_and_rows_sum_to_one(family):
    model, images, plain = family
    maps = attention_maps(model, images, batch_size=2)
    np.testing.assert_allclose(maps, plain["maps"], **TOLERANCE)
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        attention_maps(model, images, layers=[-1], heads=1)[0, :, 0], maps[-1, :, 1], **TOLERANCE
    )


def test_half_precision_gives_maps_in_float32():
    with dtype_policy("mixed_bfloat16"):
        half = vit(next(iter(FAMILIES.values())), num_classes=CLASSES)
    maps = attention_maps(half, np.zeros((1, *model_config(half).image_size, 3), "uint8"))
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)


def test_differential_attention_is_refused(images):
    config = next(iter(FAMILIES.values()))
    size = {
        "image_size": images.shape[1:3],
        "patch_size": 4,
        "hidden_dim": 16,
        "num_layers": 2,
        "num_heads": 2,
        "mlp_dim": 24,
    }
    model = vit(type(config)(**size, differential_attention=True), num_classes=CLASSES)
    for function in (attention_maps, attention_rollout, class_relevance):
        with pytest.raises(InvalidArgumentError, match=r"differential_attention=True.*no attention weights"):
            function(model, images)
    assert block_features(model, images) is not None


def test_the_model_is_not_changed(model, images):
    model.compile(loss="mse")
    before = model.predict_on_batch(images)
    predict, names, config = model.predict_function, set(vars(model)), model.get_config()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    weights = [weight.copy() for weight in model.get_weights()]
    for function in (attention_maps, attention_rollout, class_relevance, block_features):
        function(model, images)
    assert model.predict_function is predict
    assert set(vars(model)) == names
    assert model.get_config() == config
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for now, then in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(model.predict_on_batch(images), before)


def test_another_model_is_refused(images):
    other = keras.Sequential([keras.Input((12, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    for function in (attention_maps, attention_rollout, class_relevance, block_features):
        with pytest.raises(InvalidArgumentError, match=r"not made by vit_keras\.vit"):
            function(other, images)
