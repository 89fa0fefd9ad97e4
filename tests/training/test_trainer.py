import json

import keras
import pytest
from rich.console import Console

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError, TrainingDivergedError
from vit_keras.training.model_run import digest_model

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def model(tiny_config):
    keras.utils.set_random_seed(0)
    return vk.vit(tiny_config.replace(num_layers=1), num_classes=2)


def test_a_model_is_trained_and_compared_with_the_baseline(model, data, tmp_path):
    before = digest_model(model)
    run = vk.train(model, data, epochs=2, learning_rate=1e-3, run_dir=tmp_path / "run", console=QUIET)
    assert digest_model(model) == before
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["command"], record["base"]) == ("finished", "train", before)
    assert (record["recipe"]["name"], record["recipe"]["learning_rate"]) == ("small_images", 1e-3)
    assert 0 <= run.record["results"]["nearest_neighbour_accuracy"] <= 1
    (reason,) = [reason for what, _, reason in record["choices"] if what == "weights"]
    assert "finetune" in reason  # so few images
    again = vk.train(model, data, epochs=2, learning_rate=1e-3, run_dir=tmp_path / "run", resume=True, console=QUIET)
    assert again.record == run.record


@pytest.mark.any_backend
def test_the_recipe_is_checked_and_used(model, data, tmp_path):
    diverging = {"recipe": "small_images", "learning_rate": 1e30, "warmup_rate": 0.0, "clip_norm": None}
    diverged = "In epoch 1, step 2 of .*run, the loss became nan; nothing had been saved yet"
    for options, error, message in (
        ({"recipe": "finetune"}, InvalidArgumentError, "recipe='finetune' is not a recipe for random weights"),
        ({"recipe": "diet"}, InvalidArgumentError, r"the closest are deit"),
        ({"recipe": vk.recipes.deit(model, data), "epochs": 3}, InvalidArgumentError, "already sets epochs; change it"),
        (diverging, TrainingDivergedError, diverged),
    ):
        with pytest.raises(error, match=message):
            vk.train(model, data, run_dir=tmp_path / "run", console=QUIET, **options)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "diverged"
    assert len(json.loads((tmp_path / "run" / "divergence.json").read_text())["images"]) == 16
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()
