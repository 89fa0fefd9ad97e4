import json

import numpy as np
import pytest

import vit_keras as vk
from vit_keras import presets
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.training import Recipe, recipes
from vit_keras.training.recipes.published import RECIPES

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_source_and_survives_json(name):
    published = getattr(vk.recipes, name)
    assert published is RECIPES[name]
    assert published.__doc__ == published.summary
    assert name in dir(recipes)
    recipe = published.unsized(epochs=3, steps_per_epoch=7, class_weights=(1.0, 2.5))
    assert any(word in recipe.source for word in ("https://", "arXiv", "benchmarks/"))
    assert any(word in recipe.expected for word in ("%", "arXiv"))
    values = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    assert values["name"] == name
    assert Recipe.from_dict(values) == recipe


def test_type_checkers_see_every_recipe():
    from importlib.resources import files

    stub = files(recipes).joinpath("__init__.pyi").read_text()
    assert {line.split(":")[0] for line in stub.splitlines() if line.endswith(": PublishedRecipe")} == RECIPES.keys()


def test_every_recipe_of_a_preset_is_a_recipe_for_random_weights():
    assert {presets.load_preset(name).recipe for name in presets.list_presets()} <= set(recipes.SCRATCH)
    assert [*recipes.SCRATCH, *recipes.FINETUNING] == list(RECIPES)


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 500), (100, 5), (99, 6), (7000, 1)])
def test_the_papers_fine_tuning_takes_as_many_epochs_as_500_steps(steps_per_epoch, epochs):
    assert recipes.vit_paper_finetune.unsized(epochs=77, steps_per_epoch=steps_per_epoch).epochs == epochs


@pytest.mark.parametrize(
    ("num_layers", "expected"),
    [(12, (2e-3, 0.05, 0.65, 0.1)), (24, (4e-3, 0.1, 0.75, 0.2)), (32, (4e-3, 0.1, 0.75, 0.3))],
)
def test_maes_fine_tuning_depends_on_the_depth(num_layers, expected):
    recipe = recipes.mae_finetune.unsized(epochs=50, steps_per_epoch=7, num_layers=num_layers)
    assert (recipe.learning_rate, recipe.warmup_rate, recipe.layer_decay, recipe.stochastic_depth_rate) == expected


def test_the_depth_is_that_of_the_model(data):
    config = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=24, num_heads=2, mlp_dim=32)
    assert recipes.mae_finetune(vit(config, num_classes=2), data, epochs=1).stochastic_depth_rate == 0.2


@pytest.fixture(scope="module")
def model(tiny_config):
    return vit(tiny_config.replace(num_layers=1), num_classes=5)


@pytest.mark.parametrize("name", RECIPES)
def test_only_sized_fields_differ_from_the_published_ones(model, make_data, name):
    recipe = RECIPES[name](model, make_data(56, seed=3), epochs=2, beta_2=0.9)
    assert (recipe.name, recipe.beta_2, recipe.steps_per_epoch, recipe.seed) == (name, 0.9, 3, 3)
    names = [choice.what for choice in recipe.choices]
    assert {"method", "epochs", "beta_2"} <= {*names}
    assert len({*names}) == len(names)
    assert all(choice.reason for choice in recipe.choices)
    unsized = RECIPES[name].unsized(epochs=2, steps_per_epoch=3).to_dict()
    changed = {key for key, value in recipe.to_dict().items() if value != unsized[key]}
    assert changed <= {"epochs", "seed", "beta_2", *RECIPES[name].sized}


def test_nothing_is_sized_at_the_width_depth_and_length_that_were_measured(data):
    config = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=128, num_layers=1, num_heads=2, mlp_dim=32)
    model = vit(config, num_classes=2)
    for published in RECIPES.values():
        if published.sized:
            recipe = published(model, data, epochs=8)
            assert recipe == published.unsized(epochs=8, steps_per_epoch=4), published.name


def test_other_data_than_image_data_are_refused(model):
    with pytest.raises(InvalidArgumentError, match=r"recipes.finetune\(model, data\) got data of type tuple"):
        recipes.finetune(model, (np.zeros(1), 2))
    with pytest.raises(AttributeError, match="no attribute 'nearest_neighbours'"):
        _ = recipes.nearest_neighbours
