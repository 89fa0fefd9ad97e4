import json

import keras
import numpy as np
import pytest
from rich.console import Console

import vit_keras as vk
from vit_keras.data import ImageData, Split
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config, vit
from vit_keras.training import Recipe, finetune, merge_lora, recipes
from vit_keras.training.planning import sizing_of
from vit_keras.training.transfer.freezing import trainable_params

to_the_bit = pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch promises no bits")


@pytest.fixture(scope="module")
def data():
    """Dark images are class 0, bright ones class 1; few differ between them, so that weights have much to learn."""
    rng, splits = np.random.default_rng(0), {}
    for name, count in (("train", 56), ("validation", 16), ("test", 16)):
        labels = np.arange(count) % 2
        pixels = rng.integers(0, 200, (count, 16, 16, 3)) + 40 * labels[:, None, None, None]
        splits[name] = Split(pixels.astype("uint8"), labels)
    return ImageData(name="brightness", class_names=("dark", "bright"), splits=splits, batch_size=16, seed=3)


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
    "adapters": {"augmentation": "moved"},
    "small_images": {},
}


@to_the_bit
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("head_first", "small_images"))) for name in RECIPES],
)
def test_a_recipe_by_hand_ends_in_the_weights_of_a_run_to_the_bit(model, data, tmp_path, name):
    recipe = recipes.RECIPES[name](model, data, epochs=2, **RECIPES[name])
    keras.utils.set_random_seed(1)
    hand = by_hand(recipe, model, data)
    keras.utils.set_random_seed(2)
    run = finetune(model, data, recipe=recipe, run_dir=tmp_path / "run", console=Console(quiet=True))
    hand = weights_of(merge_lora(hand) if name == "adapters" else hand)
    for path, array in weights_of(run.model).items():
        np.testing.assert_array_equal(hand[path], array, err_msg=path)
    before = weights_of(model)
    assert any(not np.array_equal(array, before[path]) for path, array in hand.items() if path.startswith("block_"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"] == json.loads(json.dumps(recipe.to_dict()))


def test_what_a_run_would_choose_is_what_the_recipe_says(model, data, tmp_path):
    recipe = vk.recipes.linear_probe(model, data)
    run = finetune(model, data, method="linear_probe", run_dir=tmp_path / "run", console=Console(quiet=True))
    assert run.record["recipe"] == json.loads(json.dumps(recipe.to_dict()))
    assert run.record["choices"] == [[choice.what, choice.value, choice.reason] for choice in recipe.choices]
    prepared = weights_of(recipe.prepare(model))
    for path, array in weights_of(run.model).items():
        np.testing.assert_array_equal(prepared[path], array, err_msg=path)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_name_is_called_with_a_model_and_data(model, data, name):
    recipe = getattr(vk.recipes, name)(model, data, epochs=2, beta_2=0.9)
    assert (recipe.name, recipe.beta_2, recipe.steps_per_epoch, recipe.seed) == (name, 0.9, 3, 3)
    whats = [choice.what for choice in recipe.choices]
    assert {"method", "epochs", "beta_2"} <= {*whats}
    assert len({*whats}) == len(whats)
    assert all(choice.reason for choice in recipe.choices)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    unsized = recipes.RECIPES[name].unsized(epochs=2, steps_per_epoch=3).to_dict()
    chosen = {"epochs", "seed", "beta_2", *sizing_of(name)}
    assert {key for key, value in recipe.to_dict().items() if value != unsized[key]} <= chosen


def test_sized_numbers_begin_at_those_that_are_printed(data):
    """At width 128, with few blocks, 8 epochs and 400 steps at most nothing is left to size."""
    config = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=128, num_layers=1, num_heads=2, mlp_dim=32)
    model = vit(config, num_classes=2)
    for name in recipes.FINETUNING[:5]:
        recipe = recipes.RECIPES[name](model, data, epochs=8)
        assert recipe == recipes.RECIPES[name].unsized(epochs=8, steps_per_epoch=3, seed=3), name


def test_a_published_recipe_goes_by_the_models_depth(data):
    config = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=24, num_heads=2, mlp_dim=32)
    assert vk.recipes.mae_finetune(vit(config, num_classes=2), data, epochs=1).stochastic_depth_rate == 0.2


def test_prepare_carries_head_depth_and_what_trains(model, data):
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
    for ours, theirs in zip(one.variables, other.variables, strict=True):  # seeds of dropout and depth among them
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs))
    assert all(np.array_equal(array, before[path]) for path, array in weights_of(model).items())


def test_batches_are_of_the_epoch_that_is_told_or_the_next(model, data):
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
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_a_recipe_by_hand_cant_do_is_refused(model, data, tmp_path):
    recipe = vk.recipes.head_first(model, data, epochs=2)
    alone = Recipe.from_dict(recipe.to_dict())
    with pytest.raises(InvalidArgumentError, match=r"fitted to data: recipe.prepare\(model, data\)"):
        alone.prepare(model)
    with pytest.raises(InvalidArgumentError, match=r"not made for data: recipe.batches\(data\)"):
        alone.batches()
    with pytest.raises(InvalidArgumentError, match="epochs of 3 steps, and brightness has 2 of 16 images"):
        recipe.batches(data.limit(40))
    with pytest.raises(InvalidArgumentError, match="'linear_probe' trains on no batches"):
        vk.recipes.linear_probe(model, data).batches(data)
    with pytest.raises(InvalidArgumentError, match="'nearest_neighbours' trains no model"):
        vk.recipes.nearest_neighbours(model, data).prepare(model)
    with pytest.raises(InvalidArgumentError, match=r"got data of tuple: vk\.data\.load"):
        vk.recipes.finetune(model, (1, 2))
    with pytest.raises(InvalidArgumentError, match="The recipe says learning_rate, epochs already"):
        finetune(model, data, recipe=recipe, epochs=3, learning_rate=1.0, run_dir=tmp_path / "run")
