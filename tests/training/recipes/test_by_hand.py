import json

import keras
import numpy as np
import pytest
from rich.console import Console

import vit_keras as vk
from vit_keras.data import ImageData
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config, vit
from vit_keras.training import Recipe, finetune, merge_lora, recipes
from vit_keras.training.transfer.freezing import trainable_params

bit_for_bit = pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch is not deterministic bit for bit")


@pytest.fixture(scope="module")
def data(make_data):
    return make_data(56, gap=40, seed=3)  # hard to learn, so that the weights change a lot


@pytest.fixture(scope="module")
def model(tiny_config):
    """A model with dropout and the head of other data."""
    keras.utils.set_random_seed(0)
    return vit(tiny_config.replace(num_layers=1, dropout_rate=0.1), num_classes=5)


def weights_of(model):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights if "seed" not in weight.path}


def by_hand(recipe, model, data):
    """The five lines of the README."""
    model = recipe.prepare(model)
    model.compile(**recipe.compile_kwargs())
    model.fit(
        recipe.batches(data),
        validation_data=data.validation,
        epochs=recipe.epochs,
        callbacks=recipe.callbacks(),
        verbose=0,
    )
    return model


RECIPES = {
    "finetune": {"augmentation": "light", "stochastic_depth_rate": 0.2, "patience": 2, "average_decay": 0.5},
    "head_first": {"seed": 11, "augmentation": "strong", "accumulation": 3},
    "lora": {"augmentation": "moved"},
    "small_images": {},
}


@bit_for_bit
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("head_first", "small_images"))) for name in RECIPES],
)
def test_a_recipe_by_hand_gives_the_weights_of_a_run(model, data, tmp_path, name):
    recipe = recipes.RECIPES[name](model, data, epochs=2, **RECIPES[name])
    keras.utils.set_random_seed(1)
    hand = by_hand(recipe, model, data)
    keras.utils.set_random_seed(2)
    run = finetune(model, data, recipe=recipe, run_dir=tmp_path / "run", console=Console(quiet=True))
    hand = weights_of(merge_lora(hand) if name == "lora" else hand)
    for path, array in weights_of(run.model).items():
        np.testing.assert_array_equal(hand[path], array, err_msg=path)
    before = weights_of(model)
    assert any(not np.array_equal(array, before[path]) for path, array in hand.items() if path.startswith("block_"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"] == json.loads(json.dumps(recipe.to_dict()))


def test_a_recipe_has_the_choices_of_a_run(model, data, tmp_path):
    recipe = vk.recipes.linear_probe(model, data)
    run = finetune(model, data, method="linear_probe", run_dir=tmp_path / "run", console=Console(quiet=True))
    assert run.record["recipe"] == json.loads(json.dumps(recipe.to_dict()))
    assert run.record["choices"] == [[choice.what, choice.value, choice.reason] for choice in recipe.choices]
    prepared = weights_of(recipe.prepare(model))
    for path, array in weights_of(run.model).items():
        np.testing.assert_array_equal(prepared[path], array, err_msg=path)


def test_prepare_sets_head_stochastic_depth_and_trainable_weights(model, data):
    keras.utils.set_random_seed(5)
    recipe = vk.recipes.bias_only(model, data, stochastic_depth_rate=0.25)
    before = weights_of(model)
    one = recipe.prepare(model)
    keras.utils.set_random_seed(6)
    other = recipe.prepare(model)
    assert (one.output_shape, model_config(one).stochastic_depth_rate) == ((None, 2), 0.25)
    assert trainable_params(one) == sum(
        int(np.prod(weight.shape))
        for weight in one.weights
        if weight.path.endswith(("bias", "beta")) or weight.path.startswith("head/")
    )
    assert np.abs(weights_of(one)["head/kernel"]).max() > 0
    for first, second in zip(one.variables, other.variables, strict=True):  # seeds of dropout and depth among them
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(first), keras.ops.convert_to_numpy(second))
    assert all(np.array_equal(array, before[path]) for path, array in weights_of(model).items())


def test_batches_are_of_the_epoch_set_or_the_next(model, data):
    recipe = vk.recipes.finetune(model, data, epochs=3, augmentation="medium", seed=4)
    whole = ImageData(
        name="", class_names=data.class_names, splits=data.splits, batch_size=data.batch_size, seed=4
    ).training_batches(epochs=3, augmentation="medium")
    expected = [images for images, _ in whole.as_numpy_iterator()]
    batches = recipe.batches(data)
    found = [images for _ in range(2) for images, _ in batches.as_numpy_iterator()]
    tell = recipe.callbacks()[0]
    tell.on_epoch_begin(2)
    next(iter(batches))  # as Keras does before it trains
    tell.on_epoch_begin(2)
    found += [images for images, _ in batches.as_numpy_iterator()]
    assert len(found) == len(expected) == 9
    for first, second in zip(found, expected, strict=True):
        np.testing.assert_array_equal(first, second)


def test_missing_or_other_data_are_refused(model, data, tmp_path):
    recipe = vk.recipes.head_first(model, data, epochs=2)
    alone = Recipe.from_dict(recipe.to_dict())
    with pytest.raises(InvalidArgumentError, match=r"fitted to data: recipe.prepare\(model, data\)"):
        alone.prepare(model)
    with pytest.raises(InvalidArgumentError, match=r"not made for data: recipe.batches\(data\)"):
        alone.batches()
    with pytest.raises(
        InvalidArgumentError, match="has 3 steps per epoch, but brightness has 2 with 16 images per batch"
    ):
        recipe.batches(data.limit(40))
    with pytest.raises(InvalidArgumentError, match="'linear_probe' trains without batches"):
        vk.recipes.linear_probe(model, data).batches(data)
    with pytest.raises(InvalidArgumentError, match="The recipe already sets learning_rate, epochs; change it"):
        finetune(model, data, recipe=recipe, epochs=3, learning_rate=1.0, run_dir=tmp_path / "run")
