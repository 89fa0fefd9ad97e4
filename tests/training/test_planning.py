import numpy as np
import pytest

from vit_keras.config import ViTConfig
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.planning import FEW, SELDOM, balanced, plan_finetuning


def plan(counts, hidden_dim=128, num_layers=4, **arguments):
    labels = np.repeat(np.arange(len(counts)), counts)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_dim=hidden_dim, num_layers=num_layers, num_heads=2, mlp_dim=256
    )
    return plan_finetuning(labels, config, **{"num_classes": len(counts), "steps_per_epoch": 10, **arguments})


def chosen(found):
    return {choice.what: choice.value for choice in found.choices}


@pytest.mark.parametrize(("counts", "method"), [([FEW] * 3, "linear_probe"), ([FEW + 1] * 3, "head_first")])
def test_the_method_goes_by_the_images_of_a_class(counts, method):
    found = plan(counts)
    assert found.name == chosen(found)["method"] == method
    assert str(counts[0]) in found.choices[0].reason


def test_everything_can_be_said_and_every_choice_is_there():
    found = plan([50, 50], method="bias_only", epochs=9, changes={"learning_rate": 0.5})
    assert (found.name, found.epochs, found.learning_rate) == ("bias_only", 9, 0.5)
    assert chosen(found) == {"method": "bias_only", "epochs": 9, "learning_rate": 0.5}
    assert {choice.reason for choice in found.choices} == {"as asked"}


@pytest.mark.parametrize(("steps", "epochs"), [(1, 60), (20, 20), (1000, 5)])
def test_the_epochs_are_sized_to_the_steps(steps, epochs):
    assert plan([50, 50], steps_per_epoch=steps).epochs == epochs


def test_an_imbalance_is_said_and_balanced_only_where_that_is_asked():
    found = plan([100, 20])
    assert found.class_weights is None
    assert (
        "100 images of one class and 20 of another"
        in next(c for c in found.choices if c.what == "class_weights").reason
    )
    weights = plan([100, 20], changes={"class_weights": "balanced"}).class_weights
    assert weights == pytest.approx((0.6, 3.0))


def test_balanced_classes_count_alike():
    counts = np.array([10, 0, 30])
    weights = balanced(counts)
    assert weights[0] * 10 == pytest.approx(weights[2] * 30)
    assert (np.array(weights) * counts).sum() == pytest.approx(counts.sum())


def test_what_is_unknown_proposes_the_closest():
    with pytest.raises(InvalidArgumentError, match=r"method='linear_prob' .*'linear_probe'"):
        plan([5, 5], method="linear_prob")
    with pytest.raises(InvalidArgumentError, match=r"no \['learn_rate'\]"):
        plan([5, 5], changes={"learn_rate": 1.0})
    with pytest.raises(InvalidArgumentError, match="class_weights='even' is neither \"balanced\""):
        plan([5, 5], changes={"class_weights": "even"})


def test_rates_go_by_the_size_of_the_model_where_they_are_ours_and_stand_where_they_were_published():
    rates = {width: plan([50, 50], hidden_dim=width, num_layers=layers) for width, layers in ((128, 4), (768, 12))}
    assert rates[128].learning_rate == pytest.approx(6 * rates[768].learning_rate)
    assert (rates[128].layer_decay, rates[768].layer_decay) == (1.0, 0.75)
    assert plan([50, 50], method="mae_finetune", hidden_dim=768, num_layers=12) == plan([50, 50], method="mae_finetune")
    asked = plan([50, 50], changes={"learning_rate": 0.5})
    assert asked.learning_rate == 0.5
    assert chosen(asked)["learning_rate"] == 0.5


def test_images_that_are_seen_seldom_are_not_changed():
    often, seldom = plan([50, 50], epochs=SELDOM), plan([50, 50], epochs=SELDOM - 1)
    assert often.augmentation.shift > 0
    assert seldom.augmentation == STRENGTHS["none"]
    assert f"more than {SELDOM - 1} times" in next(c for c in seldom.choices if c.what == "augmentation").reason
    asked = plan([50, 50], epochs=1, changes={"augmentation": "light"})
    assert asked.augmentation == STRENGTHS["light"]
    assert chosen(asked)["augmentation"] == "light"


@pytest.mark.parametrize(("epochs", "weight_decay"), [(10, 0.3), (400, 0.3), (800, 0.15), (100_000, 0.05)])
def test_longer_runs_decay_less_a_step_down_to_the_usual(epochs, weight_decay):
    planned = plan([50, 50], steps_per_epoch=1, epochs=epochs)
    assert planned.weight_decay == chosen(planned)["weight_decay"] == weight_decay
