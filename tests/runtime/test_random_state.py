import random
from contextlib import suppress

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.utils import rng_utils
from rich.console import Console

from vit_keras.models.vit import vit
from vit_keras.runtime.random_state import random_state
from vit_keras.training import finetune
from vit_keras.training.model_run import digest_model


def draws():
    found = [random.random(), float(np.random.rand()), float(keras.random.uniform(())), float(tf.random.uniform(()))]
    found += [keras.ops.convert_to_numpy(keras.random.SeedGenerator().state).tolist(), rng_utils.get_random_seed()]
    if keras.backend.backend() == "torch":
        import torch

        found.append(float(torch.rand(())))
    return found


def draws_around(act):
    keras.utils.set_random_seed(7)
    before = draws()
    act()
    return before, draws()


@pytest.fixture(scope="module")
def undisturbed():
    return draws_around(lambda: None)


def test_fine_tuning_keeps_the_callers_state_and_does_not_depend_on_it(tiny_config, rng, tmp_path, undisturbed):
    keras.utils.set_random_seed(0)
    model, digests = vit(tiny_config.replace(num_layers=1, dropout_rate=0.1), num_classes=2), []
    images, labels = rng.integers(0, 256, (32, 16, 16, 3)).astype("uint8"), np.arange(32) % 2

    def act():
        run = finetune(
            model, (images, labels), (images[:8], labels[:8]), method="finetune", epochs=1, augmentation="none",
            run_dir=tmp_path / f"run{len(digests)}", console=Console(quiet=True),
        )  # fmt: skip
        digests.append(digest_model(run.model))

    assert draws_around(act) == undisturbed
    keras.utils.set_random_seed(8)
    act()
    assert digests[0] == digests[1]


@pytest.mark.any_backend
def test_building_a_preset_keeps_the_callers_state(make_folder, tiny_preset, tmp_path, undisturbed):
    folder = make_folder({"cat": 12, "dog": 12})
    options = {"method": "linear_probe", "precision": "float32", "run_dir": tmp_path / "run"}
    assert draws_around(lambda: finetune(tiny_preset, folder, **options)) == undisturbed


def test_inside_the_block_the_seed_decides_and_the_state_is_restored_after_an_error(undisturbed):
    def act():
        with suppress(ZeroDivisionError), random_state(3):
            keras.random.uniform((np.random.randint(1, 9), random.randint(1, 9)))
            raise ZeroDivisionError

    assert draws_around(act) == undisturbed
    found = []
    for callers in (1, 2):
        keras.utils.set_random_seed(callers)
        with random_state(5):
            found.append([float(keras.random.uniform(())), np.random.rand(), random.random()])
    assert found[0] == found[1]
