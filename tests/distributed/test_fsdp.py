import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from vit_keras.distributed.fsdp import MIN_SHARDED, FullySharded
from vit_keras.presets import list_presets, load_preset

pytestmark = pytest.mark.any_backend  # in processes of their own


def run_script(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        # Programs run once: they are compiled in less time, and run slower.
        env=os.environ | {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def on_devices(count, **options):
    return FullySharded([f"cpu:{number}" for number in range(count)], **options)


def test_the_largest_dimension_that_the_devices_divide_is_divided():
    four = on_devices(4, min_size=1)
    assert four.find_axes((768, 3072)) == (None, "batch")
    assert four.find_axes((3072, 768)) == ("batch", None)
    assert four.find_axes((768, 768)) == (None, "batch")
    assert four.find_axes((1, 197, 768)) == (None, None, "batch")
    assert four.find_axes((4098, 12)) == (None, "batch")  # 4098 is larger, and 4 does not divide it
    assert four.find_axes((3, 197)) == (None, None)
    assert four.find_axes(()) == ()
    assert on_devices(1, min_size=1).find_axes((768, 768)) == (None, None)


def test_small_weights_stay_whole():
    eight = on_devices(8)
    assert eight.find_axes((MIN_SHARDED - 8,)) == (None,)
    assert eight.find_axes((MIN_SHARDED,)) == ("batch",)


@pytest.mark.parametrize("name", list_presets())
def test_eight_devices_divide_the_large_weights_of_every_preset(name):
    config = load_preset(name).config
    for shape in ((config.hidden_dim, config.mlp_dim), (config.hidden_dim, config.hidden_dim)):
        assert on_devices(8, min_size=1).find_axes(shape) != (None, None)


def test_a_weight_that_has_a_layout_keeps_it():
    fsdp = on_devices(4)
    variable = keras.Variable([1.0], name="kernel")
    variable._layout = "mine"
    assert fsdp.get_variable_layout(variable) == "mine"


@pytest.mark.slow
def test_divided_weights_train_and_work_as_those_of_one_device():
    count = 4
    found = run_script("sharded_model.py", count)
    assert found.pop("devices") == count
    for name in ("wrong_layout", "average_layout", "saving"):
        assert found.pop(name) == [], name
    whole, part = found.pop("bytes")
    assert part < whole * (1 / count + 0.1)
    assert found.pop("losses") < 1e-5
    assert all(value < 2e-5 for value in found.values()), found
