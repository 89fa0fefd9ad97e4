import numpy as np
import pytest

from vit_keras.config import ViTConfig
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.planning import FEW, plan_finetuning
from vit_keras.training.recipes.sizing import FEW_EPOCHS, balance_classes

pytestmark = pytest.mark.any_backend


def plan(counts=(50, 50), hidden_dim=128, num_layers=4, **arguments):
    labels = np.repeat(np.arange(len(counts)), counts)
    sizes = {"hidden_dim": hidden_dim, "num_layers": num_layers, "num_heads": 2, "mlp_dim": 256}
    config = ViTConfig(image_size=32, patch_size=8, **sizes)
    return plan_finetuning(labels, config, **{"num_classes": len(counts), "steps_per_epoch": 10, **arguments})


def values_of(recipe):
    return {choice.what: choice.value for choice in recipe.choices}


def reason_of(recipe, what):
    return next(choice.reason for choice in recipe.choices if choice.what == what)


@pytest.mark.parametrize(
    ("count", "method", "reason"),
    [
        (1, "linear_probe", "1 image per class: too few"),
        (FEW, "linear_probe", "10 images per class: too few"),
        (FEW + 1, "head_first", "11 images per class: enough"),
    ],
)
def test_the_method_depends_on_the_images_per_class(count, method, reason):
    recipe = plan([count] * 3)
    assert recipe.name == values_of(recipe)["method"] == method
    assert reason in reason_of(recipe, "method")


def test_everything_can_be_given_and_every_choice_is_listed():
    recipe = plan(method="bias_only", epochs=9, changes={"learning_rate": 0.5})
    assert (recipe.name, recipe.epochs, recipe.learning_rate) == ("bias_only", 9, 0.5)
    assert values_of(recipe) == {"method": "bias_only", "epochs": 9, "learning_rate": 0.5}
    assert {choice.reason for choice in recipe.choices} == {"as asked"}


@pytest.mark.parametrize(
    ("arguments", "epochs"),
    [({"steps_per_epoch": 1}, 60), ({"steps_per_epoch": 20}, 20), ({"steps_per_epoch": 1000}, 5), ({"method": "deit"}, 50)],
)  # fmt: skip
def test_the_epochs_depend_on_the_steps_per_epoch(arguments, epochs):
    assert plan(**arguments).epochs == epochs


def test_an_imbalance_is_reported_and_balanced_only_if_asked():
    recipe = plan([100, 20])
    assert recipe.class_weights is None
    assert "100 images of one class and 20 of another" in reason_of(recipe, "class_weights")
    assert plan([100, 20], changes={"class_weights": "balanced"}).class_weights == pytest.approx((0.6, 3.0))
    assert "class_weights" not in values_of(plan([60, 20]))
    counts = np.array([10, 0, 30])
    weights = balance_classes(counts)
    assert weights[0] * 10 == pytest.approx(weights[2] * 30)
    assert (np.array(weights) * counts).sum() == pytest.approx(counts.sum())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "linear_prob"}, r"method='linear_prob'.* closest are linear_probe,"),
        ({"changes": {"learn_rate": 1.0}}, "no field 'learn_rate'"),
        ({"changes": {"class_weights": "even"}}, "'balanced' or 'square_root', or a number per class, got 'even'"),
    ],
)
def test_unknown_words_are_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        plan(**arguments)


def test_our_rates_depend_on_the_size_of_the_model_and_published_ones_do_not():
    small, base = plan(), plan(hidden_dim=768, num_layers=12)
    assert small.learning_rate == pytest.approx(6 * base.learning_rate)
    assert (small.layer_decay, base.layer_decay) == (1.0, 0.75)
    assert plan(method="mae_finetune", hidden_dim=768, num_layers=12) == plan(method="mae_finetune")


@pytest.mark.parametrize(("epochs", "times"), [(FEW_EPOCHS, None), (FEW_EPOCHS - 1, "7 times"), (1, "once")])
def test_short_runs_have_no_augmentation(epochs, times):
    recipe = plan(epochs=epochs)
    assert (recipe.augmentation == STRENGTHS["none"]) == (times is not None)
    if times:
        assert f"each image is seen only {times}" in reason_of(recipe, "augmentation")
    asked = plan(epochs=epochs, changes={"augmentation": "light"})
    assert asked.augmentation == STRENGTHS["light"]
    assert values_of(asked)["augmentation"] == "light"


@pytest.mark.parametrize(("epochs", "weight_decay"), [(10, 0.3), (400, 0.3), (800, 0.15), (100_000, 0.05)])
def test_longer_runs_have_less_weight_decay(epochs, weight_decay):
    recipe = plan(steps_per_epoch=1, epochs=epochs)
    assert recipe.weight_decay == values_of(recipe)["weight_decay"] == weight_decay
