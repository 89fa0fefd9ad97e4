"""Tables of relative position biases are resized as timm does it."""

from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from weights.checkpoints import CONFIGS, converted, random_weights, shapes_of

from vit_keras import rebuild, vit
from vit_keras.errors import WeightMismatchError
from vit_keras.weights import AdaptOptions, open_tensors, plan
from vit_keras.weights.adapt.relative_positions import resize_table
from vit_keras.weights.mappings.libraries.timm import timm_table
from vit_keras.weights.writing import translate

with np.load(Path(__file__).parents[2] / "golden" / "timm" / "relative_positions.npz") as _file:
    CASES = dict(_file)
BEIT = CONFIGS["beit"]
TABLE = "block_01/attention/relative_position/table"


@pytest.mark.parametrize("name", [key.removesuffix(" table") for key in CASES if key.endswith(" table")])
def test_equals_timm(name):
    before, after = (tuple(map(int, grid.split("x"))) for grid in name.split(" to "))
    found = resize_table(CASES[f"{name} table"], before=before, after=after)
    np.testing.assert_allclose(found, CASES[f"{name} resized"], rtol=1e-5, atol=2e-6)
    assert found.dtype == np.float32


def load(tmp_path, config, **arguments):
    """Loads a file of BEIT, whose grid is 4x6 patches, for another config; returns the weights and the plan."""
    weights = random_weights(BEIT)
    save_file(translate(weights, BEIT, timm_table(BEIT)), tmp_path / "x.safetensors")
    with open_tensors(tmp_path / "x.safetensors") as file:
        steps = plan(shapes_of(config), config, file, **arguments)
        return weights, converted(steps, file), steps


def test_a_file_of_another_image_size_is_resized_where_its_grid_is_known(tmp_path):
    for known in ({"adapt": AdaptOptions(grid_size=(4, 6))}, {"stated": {"image_size": (32, 48), "patch_size": 8}}):
        weights, found, steps = load(tmp_path, BEIT.replace(image_size=(56, 64)), **known)
        expected = resize_table(weights[TABLE], before=(4, 6), after=(7, 8))
        np.testing.assert_array_equal(found[TABLE], expected)
        assert "relative position biases resized from 4x6 to 7x8 patches by timm's rule" in steps.notes
        np.testing.assert_array_equal(found["head/kernel"], weights["head/kernel"])


def test_a_grid_that_nothing_states_is_refused(tmp_path):
    with pytest.raises(WeightMismatchError, match=r"biases of 80 offsets, which is no square grid.*give grid_size"):
        load(tmp_path, BEIT.replace(image_size=64))


@pytest.mark.parametrize("name", ["beit", "beit_shared", "relpos_table"])
def test_rebuild_at_another_image_size_resizes_the_tables_and_an_equal_size_changes_no_bit(name):
    model = vit(CONFIGS[name], num_classes=3)
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    same, larger = (rebuild(model, image_size=size) for size in (CONFIGS[name].image_size, (40, 48)))
    for weight in same.weights:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), weights[weight.path])
    tables = [weight for weight in larger.weights if weight.name == "table"]
    assert len(tables) == (1 if "shared" in name else 2)
    for weight in tables:
        expected = resize_table(weights[weight.path], before=CONFIGS[name].grid_size, after=(5, 6))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), expected)
