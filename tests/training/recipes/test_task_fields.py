import json

import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes import RECIPES, Recipe
from vit_keras.training.recipes.task_fields import balance_columns, count_labels, fit_task

pytestmark = pytest.mark.any_backend

TAGS = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 1]], "uint8")
NUMBERS = np.array([[10.0, 1.0], [20.0, 1.0], [60.0, 1.0], [30.0, 1.0]], "float32")


def published(name):
    return RECIPES[name].unsized(epochs=2, steps_per_epoch=3)


def test_single_labels_change_nothing():
    recipe = published("deit")
    assert fit_task(recipe, np.array([0, 1, 2])) is recipe


def test_a_recipe_for_tags_has_the_sigmoid_loss_and_keeps_mixing():
    recipe = fit_task(published("deit"), TAGS)
    assert (recipe.task, recipe.loss, recipe.label_smoothing) == ("multi_label", "binary_crossentropy", 0.0)
    assert recipe.augmentation == published("deit").augmentation
    assert [choice.what for choice in recipe.choices] == ["task", "label_smoothing", "loss"]


def test_a_recipe_for_numbers_has_their_scale_no_cutmix_and_survives_json():
    recipe = fit_task(published("deit"), NUMBERS)
    assert (recipe.task, recipe.loss) == ("regression", "mean_squared_error")
    assert recipe.target_mean == (30.0, 1.0)
    assert recipe.target_scale == (pytest.approx(np.sqrt(350)), 1.0)  # equal numbers are not scaled
    assert (recipe.augmentation.cutmix_alpha, recipe.augmentation.mixup_alpha) == (0, 0.8)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss": "huber"},
            r"loss='huber' is not for task='single_label', whose losses are crossentropy, binary_",
        ),
        (
            {"task": "multi_label"},
            r"loss='crossentropy' is not for task='multi_label', whose losses are binary_cross",
        ),
        ({"task": "regression", "loss": "huber"}, "not a number and a positive number per target"),
        ({"target_mean": (1.0,)}, "target_mean is for task='regression'"),
        ({"task": "ranking"}, r"task='ranking' is not one of single_label, multi_label, regression"),
    ],
)
def test_fields_that_do_not_fit_the_task_are_refused(changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        published("from_scratch").replace(**changes)


def test_images_are_counted_per_class_and_rare_classes_weigh_more():
    assert count_labels(np.array([0, 2, 2]), 4).tolist() == [1, 0, 2, 0]
    assert count_labels(TAGS, 3).tolist() == [3, 2, 1]
    assert balance_columns(TAGS) == (1.0, 1.0, 3.0)
    rare = np.zeros((100, 1), "uint8")
    rare[0] = 1
    assert balance_columns(rare) == (20.0,)
    with pytest.raises(InvalidArgumentError, match="a regression has no classes"):
        balance_columns(NUMBERS)
