"""A rebuilt model has the same weights and a changed config."""

import keras
import numpy as np
import oracle
import pytest
from backends import some_elsewhere

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.models.vit import model_config, vit
from vit_keras.zoo.rebuild import rebuild


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype("uint8")


def outputs(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def arrays(model):
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


@pytest.mark.parametrize(
    "changes",
    some_elsewhere(
        [{}, {"stochastic_depth_rate": 0.2}, {"dropout_rate": 0.1, "attention_dropout_rate": 0.1}, {"remat": "block"}],
        every=3,
    ),
    ids=str,
)
def test_changes_without_effect_on_the_function_keep_the_outputs(tiny_model, images, changes):
    before = arrays(tiny_model)
    model = rebuild(tiny_model, **changes)
    np.testing.assert_array_equal(outputs(model, images), outputs(tiny_model, images))
    assert model_config(model) == model_config(tiny_model).replace(**changes)
    assert (model.name, model.output_shape) == (tiny_model.name, (None, 3))
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))  # they are not shared
    for name, array in arrays(tiny_model).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    "fields",
    some_elsewhere(
        [
            {"distillation_token": True, "num_registers": 2, "layer_scale": 0.1, "qk_norm": True},
            {"stem": "conv", "class_token": False, "pooling": "map", "position_embedding": "sincos2d"},
            {
                "gated_mlp": True,
                "mlp_inner_norm": True,
                "attention_inner_norm": True,
                "rotary_embedding": "axial",
                "qkv_bias": "query_value",
            },
            {"parallel_block": True, "pre_logits_dim": 8, "position_on_prefix": False, "stem_norm": True},
        ],
        every=2,
    ),
    ids=lambda fields: next(iter(fields)),
)
def test_every_kind_of_model_is_rebuilt_exactly(tiny_config, images, fields):
    config = tiny_config.replace(num_layers=1, **fields)
    model = oracle.randomize(vit(config, num_classes=3, classifier_activation="softmax"))
    again = rebuild(model)
    np.testing.assert_array_equal(outputs(again, images), outputs(model, images))
    assert arrays(again).keys() == arrays(model).keys()


@pytest.mark.parametrize(("num_classes", "shape"), [(2, (None, 2)), (0, (None, 16)), (3, (None, 3))])
def test_a_head_for_another_number_of_classes_starts_at_zero(tiny_model, images, num_classes, shape):
    model = rebuild(tiny_model, num_classes=num_classes)
    assert model.output_shape == shape
    if num_classes == 2:
        assert not outputs(model, images).any()
    if num_classes == 0:
        assert rebuild(model).output_shape == shape
        assert rebuild(model, num_classes=4).output_shape == (None, 4)
    mine, theirs = arrays(model), arrays(tiny_model)
    kept = {name for name in mine if not name.startswith("head/")} | (set(mine) if num_classes == 3 else set())
    for name in kept:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


@pytest.mark.any_backend
def test_fewer_layers_keep_the_first_ones_and_more_are_refused(tiny_model):
    found, name = arrays(rebuild(tiny_model, num_layers=1)), "block_00/mlp/expand/kernel"
    np.testing.assert_array_equal(found[name], arrays(tiny_model)[name])
    for changes, message in (({"num_layers": 3}, "block_02"), ({"mlp_dim": 48}, "expand")):
        with pytest.raises(WeightMismatchError, match=message):
            rebuild(tiny_model, **changes)


def test_the_dtype_policy_is_kept_or_changed(tiny_model):
    policy = keras.config.dtype_policy().name
    mixed = rebuild(tiny_model, dtype_policy="mixed_bfloat16")
    again = rebuild(mixed)
    for model in (mixed, again):
        assert model.get_layer("block_00").compute_dtype == "bfloat16"
        for name, array in arrays(model).items():
            np.testing.assert_array_equal(array, arrays(tiny_model)[name])
    assert keras.config.dtype_policy().name == policy
    with pytest.raises(InvalidArgumentError, match="dtype_policy='mixed_float9'"):
        rebuild(tiny_model, dtype_policy="mixed_float9")
    assert keras.config.dtype_policy().name == policy


@pytest.mark.any_backend
def test_frozen_layers_stay_frozen(tiny_config):
    model = vit(tiny_config, num_classes=3)
    model.get_layer("block_00").trainable = False
    model.get_layer("patch_encoder").trainable = False
    again = rebuild(model, image_size=32)
    names = {variable.path for variable in model.trainable_variables}
    assert {variable.path for variable in again.trainable_variables} == names
    assert not any(name.startswith("block_00") for name in names)


@pytest.mark.any_backend
def test_illegal_arguments_are_refused(tiny_model):
    with pytest.raises(InvalidArgumentError, match="not made by"):
        rebuild(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    for changes, message in (({"image_sise": 32}, "no field 'image_sise'"), ({"image_size": 20}, "does not divide")):
        with pytest.raises(InvalidArgumentError, match=message):
            rebuild(tiny_model, **changes)
