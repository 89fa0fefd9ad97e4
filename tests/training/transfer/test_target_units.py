import keras
import numpy as np
import pytest

from vit_keras import ViTConfig, rebuild, vit
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import append_layers
from vit_keras.training.transfer.target_units import append_units, fold_units, has_units, without_units

CONFIG = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype("uint8")
MEAN, SCALE = (500.0, -2.0), (100.0, 0.5)


def trained(config=CONFIG):
    model = vit(config, num_classes=2)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "head" in weight.path:
            weight.assign(rng.normal(size=weight.shape))
    return model


def predict(model):
    return model.predict(IMAGES, verbose=0)


def test_a_new_head_predicts_the_mean():
    model = append_units(vit(CONFIG, num_classes=2), mean=MEAN, scale=SCALE)
    np.testing.assert_allclose(predict(model), np.broadcast_to(MEAN, (3, 2)))


@pytest.mark.parametrize("config", [CONFIG, CONFIG.replace(distillation_token=True)], ids=["one head", "two heads"])
def test_a_trained_head_predicts_the_same_in_scaled_numbers_and_after_folding(config):
    model = trained(config)
    expected = predict(model)
    model = append_units(model, mean=MEAN, scale=SCALE)
    np.testing.assert_allclose(predict(model), expected, rtol=1e-3, atol=1e-3)
    model.class_names, model.task = ("a", "b"), "regression"
    copy = without_units(model)
    assert has_units(model)
    folded = fold_units(model)
    for plain in (copy, folded):
        assert not has_units(plain)
        assert (plain.class_names, plain.task) == (("a", "b"), "regression")
        np.testing.assert_allclose(predict(plain), expected, rtol=1e-3, atol=1e-3)


def test_units_are_not_put_behind_a_head_that_keeps_others():
    body = vit(CONFIG)
    own = append_layers(body, [keras.layers.Dense(2, use_bias=False, name="mine")])
    model = append_units(own, mean=MEAN, scale=SCALE)
    assert fold_units(model) is model
    with pytest.raises(InvalidArgumentError, match=r"remove its own layers with rebuild\(model, num_classes=0\)"):
        append_units(model, mean=MEAN, scale=SCALE)


def test_a_copy_keeps_task_and_threshold_unless_its_head_is_new():
    model = trained()
    model.task, model.threshold = "multi_label", 0.3
    assert (rebuild(model).task, rebuild(model).threshold) == ("multi_label", 0.3)
    assert rebuild(model, num_classes=3).task is None
