import json
from pathlib import Path

import keras
import numpy as np
import pytest

from vit_keras import load_preset, vit
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.optim.layer_decay import layer_scales
from vit_keras.training.optim.optimizers import AdamW, Muon
from vit_keras.training.recipes import Recipe
from vit_keras.weights.mappings.timm import ROWS

TIMM = json.loads((Path(__file__).parents[2] / "golden" / "timm_layer_decay.json").read_text("utf-8"))["parameters"]


@pytest.fixture(scope="module")
def model():
    """ViT-B/16's twelve blocks, narrow: rates go by place and not by width."""
    config = load_preset("vit_base_patch16_224").config
    return vit(config.replace(hidden_dim=24, num_heads=3, mlp_dim=48, image_size=32), num_classes=5)


def theirs(path):
    """Returns timm's rate and decay of the parameters that one of our weights is."""
    for row in ROWS:
        for block in range(12) if row.is_per_block else (None,):
            if path in [target.format(i=f"{block:02d}" if block is not None else "") for target in row.targets]:
                names = [name.format(i=block) for name in row.ways[0].names]
                assert all(TIMM[name] == TIMM[names[0]] for name in names)
                return TIMM[names[0]]
    raise AssertionError(f"timm has no parameter for {path}")


def stepped(model, optimizer, *, value, gradient):
    """Returns by how much a step moves each variable, as a share of the learning rate."""
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, value))
    optimizer.apply(
        [keras.ops.full(variable.shape, gradient) for variable in model.trainable_variables], model.trainable_variables
    )
    moved = [value - keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    return {
        variable.path: change.mean() / 1e-3 for variable, change in zip(model.trainable_variables, moved, strict=True)
    }


def test_the_rate_of_every_variable_is_timms(model):
    rates = stepped(model, AdamW(1e-3, weight_decay=0.05, layer_decay=0.75), value=0.0, gradient=1.0)
    assert len(rates) == 152  # as many as timm has
    for path, rate in rates.items():
        np.testing.assert_allclose(rate, theirs(path)[0], rtol=1e-4, err_msg=path)


def test_the_decay_of_every_variable_is_timms(model):
    decays = stepped(model, AdamW(1e-3, weight_decay=0.05, layer_decay=0.75), value=1.0, gradient=0.0)
    for path, decay in decays.items():
        scale, weight_decay = theirs(path)
        np.testing.assert_allclose(decay, scale * weight_decay, rtol=2e-2, atol=1e-6, err_msg=path)  # of 1 in float32


def test_muons_decay_shrinks_layer_by_layer_too(model):
    decays = stepped(model, Muon(1e-3, weight_decay=0.5, layer_decay=0.5), value=1.0, gradient=0.0)
    np.testing.assert_allclose(decays["head/kernel"], 0.5, rtol=1e-2)
    np.testing.assert_allclose(decays["block_11/mlp/expand/kernel"], 0.25, rtol=1e-2)
    np.testing.assert_allclose(decays["block_10/mlp/expand/kernel"], 0.125, rtol=1e-2)


@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_a_decay_of_one_changes_nothing(model, kind):
    plain, same = (
        stepped(model, kind(1e-3, weight_decay=0.05, **options), value=0.5, gradient=0.1)
        for options in ({}, {"layer_decay": 1})
    )
    assert plain == same


def test_one_rate_is_set_and_all_follow(model):
    optimizer = AdamW(1e-3, weight_decay=0.0, layer_decay=0.75)
    stepped(model, optimizer, value=0.0, gradient=1.0)
    optimizer.learning_rate = 2e-3
    rates = stepped(model, optimizer, value=0.0, gradient=1.0)
    np.testing.assert_allclose(rates["head/kernel"], 2, rtol=1e-3)
    np.testing.assert_allclose(rates["block_11/mlp/expand/kernel"], 1.5, rtol=1e-3)


def test_frozen_variables_leave_the_others_where_they_were(model):
    paths = [variable.path for variable in model.trainable_variables]
    scales = dict(zip(paths, layer_scales(paths, 0.75), strict=True))
    upper = [path for path in paths if not path.startswith(("patch_encoder", "block_00", "block_01"))]
    assert dict(zip(upper, layer_scales(upper, 0.75), strict=True)) == {path: scales[path] for path in upper}


@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_it_survives_json(kind):
    again = keras.optimizers.deserialize(
        json.loads(json.dumps(keras.optimizers.serialize(kind(1e-3, layer_decay=0.6))))
    )
    assert again.layer_decay == 0.6


def test_stems_of_every_kind_are_the_first_layer():
    paths = [
        "conv_stem/convolution_0/kernel",
        "stem_norm/gamma",
        "patch_encoder/registers",
        "block_00/mlp/expand/bias",
        "pooling/probe",
    ]
    assert layer_scales(paths, 0.5) == [0.25, 0.25, 0.25, 0.5, 1.0]


def test_a_fit_with_it_runs_compiled(model):
    model.compile(AdamW(1e-3, layer_decay=0.75), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(np.zeros((4, 32, 32, 3), "uint8"), np.arange(4), epochs=2, verbose=0).history["loss"]
    assert history[1] < history[0]


def test_a_recipe_hands_it_on():
    recipe = Recipe(name="mine", source="", epochs=1, steps_per_epoch=1, layer_decay=0.7)
    assert recipe.compile_kwargs()["optimizer"].layer_decay == 0.7


@pytest.mark.parametrize("value", [0, -1, 1.5, "a", None, float("nan")])
def test_what_is_no_factor_is_refused(value):
    with pytest.raises(InvalidArgumentError, match="layer_decay"):
        AdamW(layer_decay=value)
    with pytest.raises(InvalidArgumentError, match="layer_decay"):
        Recipe(name="mine", source="", epochs=1, steps_per_epoch=1, layer_decay=value)


def test_a_model_of_others_is_refused():
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(InvalidArgumentError, match="none of the variables is of a block"):
        AdamW(layer_decay=0.5).build(other.trainable_variables)
