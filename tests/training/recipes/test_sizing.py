"""Batch size, class weights and hints for sets of few images."""

import io

import numpy as np
import pytest
from rich.console import Console

import vit_keras as vk
from vit_keras.data.dataset.image_data import choose_batch_size
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.training.recipes.planning import plan_finetuning
from vit_keras.training.recipes.sizing import balance_classes

pytestmark = pytest.mark.any_backend


def arrays(count, classes=2):
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype("uint8")
    return images, np.arange(count) % classes


@pytest.mark.parametrize(
    ("count", "largest", "size", "steps"),
    [(48, 128, 8, 6), (128, 128, 16, 8), (144, 64, 16, 9), (416, 64, 64, 6), (5552, 128, 128, 43), (40, 64, 8, 5), (3, 64, 3, 1)],
)  # fmt: skip
def test_an_epoch_has_at_least_six_steps_where_batches_of_eight_allow_it(count, largest, size, steps):
    assert choose_batch_size(count, largest=largest) == size
    assert count // size == steps


def test_the_batch_size_fits_the_images_unless_it_is_given():
    assert vk.data.load(arrays(60)).batch_size == 8
    assert vk.data.load(arrays(60), batch_size=32).batch_size == 32
    assert vk.data.load("emoji").batch_size == 64
    assert vk.data.load("emoji", limit=128).batch_size == 16


def test_few_images_train_with_the_reason_and_a_hint_at_fine_tuning(tiny_config, tmp_path):
    lines = Console(record=True, width=300, file=io.StringIO())
    data, model = vk.data.load(arrays(60)), vit(tiny_config.replace(num_layers=1))
    recipe = vk.recipes.small_images(model, data, epochs=1, augmentation=vk.data.Augmentation(flip_rate=0.5))
    result = vk.train(model, data, recipe=recipe, run_dir=tmp_path / "run", console=lines)
    printed = lines.export_text()
    assert "choice   batch_size 8: 6 steps per epoch of 48 training images; larger batches make too few" in printed
    assert (
        "choice   weights random: 48 training images are few to start from random weights: `vit-keras finetune` starts"
        in printed
    )
    assert result.record["recipe"]["steps_per_epoch"] == 6
    choices = {what: value for what, value, _ in result.record["choices"]}
    assert choices["augmentation"]["flip_rate"] == 0.5  # of your own: recorded as its fields


def test_many_images_get_no_hint(tiny_config):
    data = vk.data.load(arrays(2600))
    recipe = vk.recipes.small_images(vit(tiny_config), data, epochs=1)
    assert not {"batch_size", "weights"} & {choice.what for choice in recipe.choices}


def test_class_weights_are_the_inverse_count_to_a_power():
    counts = np.array([5000, 50, 2])
    for power in (1.0, 0.5):
        weights = np.array(balance_classes(counts, power=power))
        np.testing.assert_allclose((weights * counts).sum(), counts.sum())
        np.testing.assert_allclose(weights[1] / weights[0], 100**power)
        np.testing.assert_allclose(weights[2] / weights[0], 2500**power)


def test_a_long_tail_is_offered_softer_weights(tiny_config):
    def plan(counts, **changes):
        labels = np.repeat(np.arange(len(counts)), counts)
        return plan_finetuning(labels, tiny_config, num_classes=len(counts), steps_per_epoch=9, changes=changes)

    (said,) = (choice.reason for choice in plan([5000, 300, 1]).choices if choice.what == "class_weights")
    assert said.startswith("5000 images of one class and 1 of another")
    assert 'class_weights="square_root"' in said
    weights = plan([400, 100], class_weights="square_root").class_weights
    np.testing.assert_allclose(weights, [5 / 6, 5 / 3])
    with pytest.raises(InvalidArgumentError, match="'balanced' or 'square_root', or a number per class, got 'sqrt'"):
        plan([400, 100], class_weights="sqrt")
