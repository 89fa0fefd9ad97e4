import random
from contextlib import suppress
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.utils import rng_utils
from rich.console import Console

from vit_keras import presets
from vit_keras.data import ImageData, Split
from vit_keras.models.vit import vit
from vit_keras.training import TrainingOptions, finetune, train
from vit_keras.training.finetuning import FinetuningOptions, digest_of, finetune_preset
from vit_keras.training.runs.random_state import random_state
from vit_keras.zoo.preset_directory import save_preset

PLAIN = {"epochs": 1, "augmentation": "none", "console": Console(quiet=True)}


def draws():
    """One number of each generator that belongs to the caller."""
    found = [
        random.random(),
        float(np.random.rand()),
        float(keras.random.uniform(())),
        float(tf.random.uniform(())),
        keras.ops.convert_to_numpy(keras.random.SeedGenerator().state).tolist(),
        rng_utils.get_random_seed(),
    ]
    if keras.backend.backend() == "torch":
        import torch

        found.append(float(torch.rand(())))
    return found


def draws_around(act):
    """What the caller draws before and after something, from the seed 7."""
    keras.utils.set_random_seed(7)
    before = draws()
    act()
    return before, draws()


@pytest.fixture(scope="module")
def undisturbed():
    return draws_around(lambda: None)


@pytest.fixture(scope="module")
def tiny(tiny_config):
    """The tiny config with what draws random numbers while it trains, as a preset that training finds by name."""
    name, config = "tiny_random_state", tiny_config.replace(num_layers=1, dropout_rate=0.1)
    preset = replace(presets.load_preset("vit_pico_patch4_32"), name=name, config=config, params=config.num_params)
    presets.catalog._presets()[name] = preset
    yield preset
    del presets.catalog._presets()[name]


@pytest.fixture(scope="module")
def data():
    """Dark images are class 0, bright ones class 1."""
    rng, splits = np.random.default_rng(0), {}
    for name, count in (("train", 32), ("validation", 8), ("test", 8)):
        labels = np.arange(count) % 2
        pixels = rng.integers(0, 100, (count, 16, 16, 3)) + 150 * labels[:, None, None, None]
        splits[name] = Split(pixels.astype("uint8"), labels)
    return ImageData(name="brightness", class_names=("dark", "bright"), splits=splits, batch_size=16)


def test_fine_tuning_draws_nothing_of_the_caller_and_ends_alike_whatever_the_caller_drew(
    tiny, data, tmp_path, undisturbed
):
    keras.utils.set_random_seed(0)
    model, ends = vit(tiny.config, num_classes=2), []

    def act():
        run = finetune(model, data, method="finetune", run_dir=tmp_path / f"run{len(ends)}", **PLAIN)
        ends.append(digest_of(run.model))

    assert draws_around(act) == undisturbed
    keras.utils.set_random_seed(8)
    act()
    assert ends[0] == ends[1]


def test_training_and_fine_tuning_by_name_draw_nothing_of_the_caller(tiny, make_folder, tmp_path, undisturbed):
    folder = make_folder({"cat": 12, "dog": 12})
    directory = save_preset(vit(tiny.config, num_classes=2), tmp_path / "mine", class_names=("cat", "dog"))

    def act():
        options = TrainingOptions(data=str(folder), preset=tiny.name, epochs=1, batch_size=8, precision="float32")
        train(options, run_dir=tmp_path / "trained", console=Console(quiet=True))
        tuning = FinetuningOptions(preset=str(directory), data=str(folder), method="linear_probe", precision="float32")
        finetune_preset(tuning, run_dir=tmp_path / "tuned")

    assert draws_around(act) == undisturbed


def test_the_state_comes_back_after_an_error_too(undisturbed):
    def act():
        with suppress(ZeroDivisionError), random_state(3):
            keras.random.uniform((np.random.randint(1, 9), random.randint(1, 9)))
            raise ZeroDivisionError

    assert draws_around(act) == undisturbed


def test_inside_the_block_the_seed_decides():
    found = []
    for callers in (1, 2):
        keras.utils.set_random_seed(callers)
        with random_state(5):
            found.append([keras.ops.convert_to_numpy(keras.random.uniform((3,))), np.random.rand(), random.random()])
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
