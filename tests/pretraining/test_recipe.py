import json

import pytest

from vit_keras.data import Augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.pretraining.methods import METHODS, find_method
from vit_keras.pretraining.recipe import RECIPES, PretrainingRecipe, plan_pretraining

pytestmark = pytest.mark.any_backend


def plan(hidden_dim=128, **changes):
    options = {"images": 20_000, "batch_size": 128, "steps_per_epoch": 156, "hidden_dim": hidden_dim}
    return plan_pretraining(METHODS["mae"], **options, **changes)


def test_mae_has_the_numbers_of_the_papers_code_but_the_measured_learning_rate_and_augmentation():
    recipe, choices = plan()
    assert recipe.learning_rate == 2e-3
    assert plan(hidden_dim=512)[0].learning_rate == 2e-3 / 4
    assert (recipe.optimizer, recipe.beta_2, recipe.weight_decay, recipe.clip_norm) == ("adamw", 0.95, 0.05, None)
    assert recipe.augmentation == Augmentation(flip_rate=0.5, zoom=0.2, stretch=0.1, shift=0.1)
    assert recipe.warmup_rate == 40 / 800
    assert dict(recipe.options) == {"mask_ratio": 0.75}
    reasons = {choice.what: (choice.value, choice.reason) for choice in choices}
    assert reasons["epochs"] == (
        400,
        "20,000 images seen 8,000,000 times in all; published gains come at 400 to 2,000 epochs",
    )


def test_changes_are_fields_of_the_recipe_or_options_of_the_method():
    recipe, choices = plan(
        epochs=3, changes={"mask_ratio": 0.5, "learning_rate": 1e-3, "average_decay": 0.99, "seed": 4}
    )
    assert dict(recipe.options) == {"mask_ratio": 0.5}
    assert (recipe.epochs, recipe.learning_rate, recipe.average_decay, recipe.seed) == (3, 1e-3, 0.99, 4)
    assert ("mask_ratio", 0.5, "as asked") in [(choice.what, choice.value, choice.reason) for choice in choices]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mask_rate": 0.5},
            "'mask_rate': neither a field of the recipe nor an option of mae. Did you mean 'mask_ratio'",
        ),
        ({"source": "me"}, "'source': neither"),
        ({"learning_rate": -1}, "learning_rate=-1 is not a number of at least 0"),
        ({"augmentation": "medium"}, "mixes images"),
        ({"layer_decay": 2, "epochs": 1}, "'epochs': neither"),
    ],
)
def test_other_changes_are_refused(changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        plan(changes=changes)


def test_each_method_has_a_recipe_with_options_it_knows():
    assert list(METHODS) == list(RECIPES)
    for name, method in METHODS.items():
        recipe = RECIPES[name].unsized(epochs=1, steps_per_epoch=1)
        assert recipe.options.keys() <= set(method.list_options())
        assert recipe.source
        assert RECIPES[name].summary


def test_a_recipe_comes_back_from_json():
    recipe, _ = plan(changes={"average_decay": 0.9})
    assert PretrainingRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_an_unknown_method_is_refused_with_the_closest_name():
    with pytest.raises(InvalidArgumentError, match=r"there is no such pre-training method\. Did you mean 'mae'"):
        find_method("mea")
    with pytest.raises(InvalidArgumentError, match="method=3: there is no"):
        find_method(3)


def test_lejepa_has_the_numbers_of_its_minimal_example_and_distillation_takes_a_teacher():
    options = {"images": 20_000, "batch_size": 128, "steps_per_epoch": 156, "hidden_dim": 128}
    recipe, _ = plan_pretraining(METHODS["lejepa"], **options, changes={"projector_dims": [64, 8]})
    assert recipe.learning_rate == pytest.approx(2e-3 / 2)
    assert recipe.augmentation == Augmentation()
    assert recipe.options["weight"] == 0.02
    assert recipe.options["projector_dims"] in ([64, 8], (64, 8))
    assert METHODS["distill"].needs_teacher
    assert METHODS["distill"].list_options() == ["teacher_range", "patch_weight"]
