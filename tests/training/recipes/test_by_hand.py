import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console
from training.weights import arrays, assert_equal, changed, values

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config, vit
from vit_keras.training import Recipe, finetune, merge_lora, recipes

bit_for_bit = pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch is not deterministic bit for bit")


@pytest.fixture(scope="module")
def data(make_data):
    return make_data(56, gap=40, seed=3)  # hard to learn, so that the weights change a lot


@pytest.fixture(scope="module")
def model(tiny_config):
    """A model with dropout and the head of other data."""
    keras.utils.set_random_seed(0)
    return vit(tiny_config.replace(num_layers=1, dropout_rate=0.1), num_classes=5)


def by_hand(recipe, model, data):
    """The five lines of the README."""
    model = recipe.prepare(model)
    model.compile(**recipe.compile_kwargs())
    options = {"validation_data": data.validation, "epochs": recipe.epochs, "callbacks": recipe.callbacks()}
    model.fit(recipe.batches(data), **options, verbose=0)
    return model


@bit_for_bit
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("finetune", {"augmentation": "light", "stochastic_depth_rate": 0.2, "patience": 2, "average_decay": 0.5}),
        pytest.param("head_first", {"seed": 11, "augmentation": "strong", "accumulation": 3}, marks=pytest.mark.slow),
        pytest.param("lora", {"augmentation": "moved"}, marks=pytest.mark.slow),
    ],
)
def test_a_recipe_by_hand_gives_the_weights_of_a_run(model, data, tmp_path, name, options):
    recipe = recipes.RECIPES[name](model, data, epochs=2, **options)
    keras.utils.set_random_seed(1)
    hand = by_hand(recipe, model, data)
    keras.utils.set_random_seed(2)
    run = finetune(model, data, recipe=recipe, run_dir=tmp_path / "run", console=Console(quiet=True))
    hand = values(merge_lora(hand) if name == "lora" else hand)
    assert not changed(values(run.model), hand)
    assert any(path.startswith("block_") for path in changed(values(model), hand))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"] == json.loads(json.dumps(recipe.to_dict()))


@pytest.mark.any_backend
def test_a_recipe_has_the_choices_of_a_run(model, data, tmp_path):
    recipe = vk.recipes.linear_probe(model, data)
    run = finetune(model, data, method="linear_probe", run_dir=tmp_path / "run", console=Console(quiet=True))
    assert run.record["recipe"] == json.loads(json.dumps(recipe.to_dict()))
    assert run.record["choices"] == [[choice.what, choice.value, choice.reason] for choice in recipe.choices]
    assert not changed(values(run.model), values(recipe.prepare(model)))


@pytest.mark.any_backend
def test_prepare_sets_head_stochastic_depth_and_trainable_weights(model, data):
    keras.utils.set_random_seed(5)
    recipe = vk.recipes.bias_only(model, data, stochastic_depth_rate=0.25)
    before = values(model)
    one = recipe.prepare(model)
    keras.utils.set_random_seed(6)
    other = recipe.prepare(model)
    assert (one.output_shape, model_config(one).stochastic_depth_rate) == ((None, 2), 0.25)
    names = {path for path in values(one) if path.endswith(("bias", "beta")) or path.startswith("head/")}
    assert {weight.path for weight in one.trainable_weights} == names
    assert np.abs(values(one)["head/kernel"]).max() > 0
    assert_equal(arrays(one.variables), arrays(other.variables))  # seeds of dropout and depth among them
    assert not changed(before, values(model))


@pytest.mark.any_backend
def test_batches_are_of_the_epoch_set_or_the_next(model, data):
    recipe = vk.recipes.finetune(model, data, epochs=3, augmentation="medium", seed=4)
    whole = replace(data, seed=4).training_batches(epochs=3, augmentation="medium")
    expected = [images for images, _ in whole.as_numpy_iterator()]
    batches = recipe.batches(data)
    found = [images for _ in range(2) for images, _ in batches.as_numpy_iterator()]
    tell = recipe.callbacks()[0]
    tell.on_epoch_begin(2)
    next(iter(batches))  # as Keras does before it trains
    tell.on_epoch_begin(2)
    found += [images for images, _ in batches.as_numpy_iterator()]
    assert len(found) == len(expected) == 9
    assert_equal(found, expected)


@pytest.mark.any_backend
def test_missing_or_other_data_are_refused(model, data, tmp_path):
    recipe = vk.recipes.head_first(model, data, epochs=2)
    alone = Recipe.from_dict(recipe.to_dict())
    probe, changes = (
        vk.recipes.linear_probe(model, data),
        {"epochs": 3, "learning_rate": 1.0, "run_dir": tmp_path / "run"},
    )
    for use, message in (
        (lambda: alone.prepare(model), r"fitted to data: recipe.prepare\(model, data\)"),
        (alone.batches, r"not made for data: recipe.batches\(data\)"),
        (lambda: recipe.batches(data.limit(40)), "has 3 steps per epoch, but brightness has 2 with 16 images per"),
        (lambda: probe.batches(data), "'linear_probe' trains without batches"),
        (lambda: finetune(model, data, recipe=recipe, **changes), "already sets learning_rate, epochs; change it"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            use()
