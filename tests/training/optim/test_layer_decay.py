import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest

from vit_keras import load_preset, vit
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.optim.layer_decay import layer_scales
from vit_keras.training.optim.optimizers import AdamW, Muon
from vit_keras.weights.mappings.libraries.timm import ROWS

TIMM = json.loads((Path(__file__).parents[2] / "golden" / "timm_layer_decay.json").read_text("utf-8"))["parameters"]


@pytest.fixture(scope="module")
def model():
    """The twelve blocks of ViT-B/16, narrow."""
    config = load_preset("vit_base_patch16_224").config
    return vit(config.replace(hidden_dim=24, num_heads=3, mlp_dim=48, image_size=32), num_classes=5)


def find_timm_scales(path):
    """Returns timm's learning rate and weight decay of the parameters that make up one of our weights."""
    for row in ROWS:
        for block in range(12) if row.is_per_block else (None,):
            if path in [target.format(i=f"{block:02d}" if block is not None else "") for target in row.targets]:
                names = [name.format(i=block) for name in row.ways[0].names]
                assert all(TIMM[name] == TIMM[names[0]] for name in names)
                return TIMM[names[0]]
    raise AssertionError(f"timm has no parameter for {path}")


def step_sizes(model, optimizer, *, value, gradient):
    """Returns by how much a step moves each variable, divided by 1e-3."""
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.full(variable.shape, value))
    optimizer.apply([keras.ops.full(variable.shape, gradient) for variable in variables], variables)
    moved = [value - keras.ops.convert_to_numpy(variable) for variable in variables]
    return {variable.path: change.mean() / 1e-3 for variable, change in zip(variables, moved, strict=True)}


def test_learning_rate_and_weight_decay_of_every_variable_are_timms(model):
    rates = step_sizes(model, AdamW(1e-3, weight_decay=0.05, layer_decay=0.75), value=0.0, gradient=1.0)
    decays = step_sizes(model, AdamW(1e-3, weight_decay=0.05, layer_decay=0.75), value=1.0, gradient=0.0)
    assert len(rates) == 152  # as many as timm has
    for path, rate in rates.items():
        scale, weight_decay = find_timm_scales(path)
        np.testing.assert_allclose(rate, scale, rtol=1e-4, err_msg=path)
        expected = scale * weight_decay
        np.testing.assert_allclose(decays[path], expected, rtol=2e-2, atol=1e-6, err_msg=path)  # of 1 in float32


@pytest.mark.any_backend
def test_muons_weight_decay_is_layer_wise_and_setting_the_learning_rate_scales_all_layers(model):
    decays = step_sizes(model, Muon(1e-3, weight_decay=0.5, layer_decay=0.5), value=1.0, gradient=0.0)
    optimizer = AdamW(1e-3, weight_decay=0.0, layer_decay=0.75)
    step_sizes(model, optimizer, value=0.0, gradient=1.0)
    optimizer.learning_rate = 2e-3
    rates = step_sizes(model, optimizer, value=0.0, gradient=1.0)
    for path, decay, rate in (
        ("head/kernel", 0.5, 2),
        ("block_11/mlp/expand/kernel", 0.25, 1.5),
        ("block_10/mlp/expand/kernel", 0.125, 1.125),
    ):
        np.testing.assert_allclose((decays[path], rates[path]), (decay, rate), rtol=1e-2)


@pytest.mark.parametrize(
    ("paths", "num_layers", "exponents"),
    [
        (["conv_stem/convolution_0/kernel", "stem_norm/gamma", "patch_encoder/registers"], 1, [2, 2, 2]),
        (["patch_encoder/class_token", "block_00/mlp/expand/bias", "pooling/probe"], None, [2, 1, 0]),
        (["block_02/mlp/expand/bias", "final_norm/gamma", "head/bias"], None, [1, 1, 0]),  # lower layers frozen
        (["block_00/mlp/expand/kernel", "head/bias"], 3, [3, 0]),  # upper blocks frozen
        (["patch_encoder/class_token", "head/bias"], 3, [4, 0]),  # all blocks frozen
        (["final_norm/gamma", "head/bias"], None, [1, 0]),
        (["head/bias", "head_distillation/bias", "pooling/probe"], None, [0, 0, 0]),
    ],
)
@pytest.mark.any_backend
def test_layers_are_counted_from_the_head(paths, num_layers, exponents):
    assert layer_scales(paths, 0.5, num_layers=num_layers) == [0.5**exponent for exponent in exponents]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: AdamW(layer_decay=0), "layer_decay"),
        (lambda: AdamW(layer_decay="a"), "layer_decay"),
        (lambda: AdamW(layer_decay=math.nan), "layer_decay"),
        (lambda: AdamW(layer_decay=0.5, num_layers=0), "num_layers=0"),
        (lambda: AdamW(layer_decay=0.5).build([keras.Variable([1.0])]), "no variable belongs to a block"),
        (lambda: layer_scales(["patch_encoder/class_token", "head/bias"], 0.5), "num_layers=12"),
        (lambda: layer_scales(["block_02/mlp/b"], 0.5, num_layers=2), "num_layers=2 is too few: there is a block_02"),
    ],
)
@pytest.mark.any_backend
def test_wrong_factors_numbers_of_layers_and_models_are_refused(use, message):
    with pytest.raises(InvalidArgumentError, match=message):
        use()
