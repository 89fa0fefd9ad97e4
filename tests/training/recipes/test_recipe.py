import math

import keras
import pytest
from contracts import JIT
from training.weights import arrays, assert_equal

from vit_keras.data import Augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.training import Recipe, recipes
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.best_weights import RestoreBestWeights
from vit_keras.training.callbacks.epoch_clock import TellEpoch
from vit_keras.training.recipes.recipe import Choice


def mine(**fields):
    return Recipe(**{"name": "mine", "source": "", "epochs": 10, "steps_per_epoch": 10, **fields})


# --- its fields


@pytest.mark.any_backend
def test_every_wrong_field_is_refused_at_once():
    wrong = {
        "source": 5, "expected": None, "epochs": 0, "steps_per_epoch": 2.5, "accumulation": 0, "warmup_rate": "0.1",
        "label_smoothing": -0.1, "beta_2": 2, "momentum": -1, "learning_rate": -1, "weight_decay": math.nan,
        "optimizer": "adam", "schedule": "step", "loss": "mse", "method": "half", "layer_decay": 0, "clip_norm": 0,
        "class_weights": (1.0, 0.0), "augmentation": "mild", "stochastic_depth_rate": 1, "average_decay": 1.5, "patience": 0,
        "seed": -1,
    }  # fmt: skip
    not_numbers = {"learning_rate": ["0.1"], "layer_decay": "0.1", "clip_norm": ["0.1"], "class_weights": "0.1"}
    for fields in (wrong, {"source": "", "epochs": 1, "steps_per_epoch": 1, **not_numbers}):
        with pytest.raises(InvalidArgumentError) as caught:
            Recipe(name="mine", **fields)
        assert all(f"{name}=" in str(caught.value) for name in (wrong if fields is wrong else not_numbers))


@pytest.mark.any_backend
def test_a_damaged_record_is_refused():
    for change, message in (
        ({"learn_rate": 1.0}, "no field 'learn_rate'.*'learning_rate'"),
        ({"augmentation": {"flip": 0.5}}, "no field 'flip'"),
        ({"augmentation": {"flip_rate": 2}}, "flip_rate=2"),
        ({"optimizer": ["adamw"]}, "optimizer="),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            Recipe.from_dict({**mine().to_dict(), **change})


@pytest.mark.any_backend
def test_a_record_needs_the_fields_without_a_default_and_may_have_earlier_names():
    assert Recipe.from_dict({"name": "mine", "source": "", "epochs": 10, "steps_per_epoch": 10}) == mine()
    with pytest.raises(InvalidArgumentError, match=r"source, epochs must be given"):
        Recipe.from_dict({"name": "mine", "steps_per_epoch": 10})
    lora = recipes.lora.unsized(epochs=1, steps_per_epoch=1)
    assert Recipe.from_dict({**lora.to_dict(), "name": "adapters", "method": "adapters"}) == lora


# --- optimizer, loss, callbacks


@pytest.mark.parametrize(
    ("schedule", "accumulation", "fraction"),
    [
        ("cosine", 1, lambda progress: (1 + math.cos(math.pi * progress)) / 2),
        ("linear", 3, lambda progress: 1 - progress),
        ("constant", 1, lambda progress: 1.0),
    ],
)
def test_the_learning_rate_rises_from_zero_then_follows_its_schedule(schedule, accumulation, fraction):
    rates = {"learning_rate": 0.5, "warmup_rate": 0.2, "schedule": schedule}
    recipe = mine(steps_per_epoch=10 * accumulation, accumulation=accumulation, **rates)
    assert recipe.optimizer_steps == 100
    optimizer = recipe.compile_kwargs()["optimizer"]
    for step in (0, 5, 10, 19, 20, 40, 60, 80, 99, 100):
        optimizer._iterations.assign(step * accumulation)
        expected = 0.5 * (step / 20 if step < 20 else fraction((step - 20) / 80))
        assert float(optimizer.learning_rate) == pytest.approx(expected, abs=1e-6), step


def test_a_constant_rate_can_be_set_and_incomplete_accumulations_are_no_steps():
    steps = [mine(epochs=epochs, accumulation=batches).optimizer_steps for epochs, batches in ((10, 3), (1, 20))]
    assert steps == [33, 1]
    optimizer = mine(schedule="constant", warmup_rate=0.0, learning_rate=1).compile_kwargs()["optimizer"]
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25


@pytest.mark.parametrize(
    ("name", "moments"),
    [
        ("adamw", {"beta_2": 0.9}),
        ("muon", {"adam_beta_2": 0.9, "adam_weight_decay": 0.3}),
        ("lion", {"beta_2": 0.99}),
        ("lamb", {"beta_2": 0.9}),
        ("sgd", {"momentum": 0.8}),
    ],
)
@pytest.mark.any_backend
def test_the_optimizer_has_the_recipes_values(name, moments):
    both = {"weight_decay": 0.3, "layer_decay": 0.6}
    recipe = mine(optimizer=name, beta_2=0.9, momentum=0.8, clip_norm=0.7, accumulation=4, **both)
    optimizer = recipe.compile_kwargs()["optimizer"]
    assert type(optimizer).__name__.lower() == name
    assert recipe.compile_kwargs()["optimizer"] is not optimizer
    expected = {**both, "global_clipnorm": 0.7, "gradient_accumulation_steps": 4, **moments}
    assert optimizer.get_config().items() >= expected.items()


@pytest.mark.any_backend
def test_the_loss_has_the_recipes_values():
    for name in ("crossentropy", "binary_crossentropy"):
        loss = mine(loss=name, label_smoothing=0.2, class_weights=(1.0, 3.0)).compile_kwargs()["loss"]
        assert (loss.name, loss.label_smoothing, loss.class_weights) == (name, 0.2, [1.0, 3.0])


@pytest.mark.any_backend
def test_the_callbacks_are_those_of_the_recipe():
    assert [type(callback) for callback in mine().callbacks()] == [TellEpoch, keras.callbacks.TerminateOnNaN]
    _, _, average, best = mine(average_decay=0.9, patience=3).callbacks()
    assert (type(average), average.decay) == (ExponentialMovingAverage, 0.9)
    assert (type(best), best.patience, best.average) == (RestoreBestWeights, 3, average)


# --- the user's own fit


def test_a_recipe_trains_in_the_users_own_fit_and_the_compiled_model_survives_a_file(data, tiny_config, tmp_path):
    keras.utils.set_random_seed(0)
    mixed = Augmentation(mixup_alpha=0.2)  # mixed targets in training, labels in validation
    options = {"class_weights": (1.0, 2.0), "accumulation": 2, "average_decay": 0.5, "patience": 9}
    sizes = {"epochs": 8, "steps_per_epoch": data.steps_per_epoch}
    recipe = recipes.finetune.unsized(learning_rate=2e-2, augmentation=mixed, **options, **sizes)
    model = vit(tiny_config.replace(num_layers=1), num_classes=2)
    model.compile(**recipe.compile_kwargs(), jit_compile=JIT)
    batches = data.training_batches(epochs=recipe.epochs, augmentation=recipe.augmentation)
    options = {"validation_data": data.validation, "callbacks": recipe.callbacks(), "shuffle": False, "verbose": 0}
    history = model.fit(batches, **sizes, **options).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_accuracy"][-1] == 1
    assert model.evaluate(data.test, verbose=0)[1] == 1
    assert int(model.optimizer.iterations) == recipe.optimizer_steps
    model.save(tmp_path / "mine.keras")
    loaded = keras.saving.load_model(tmp_path / "mine.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.loss.get_config() == model.loss.get_config()
    assert_equal(arrays(loaded.optimizer.variables), arrays(model.optimizer.variables))
    assert loaded.evaluate(data.test, verbose=0) == model.evaluate(data.test, verbose=0)


@pytest.mark.any_backend
def test_a_notebook_shows_choices_with_their_reasons():
    html = mine().replace(epochs=12)._repr_html_()
    assert "Recipe mine: 12 epochs of 10 steps" in html
    assert "learning_rate" in html
    choice = Choice("method", "<full>", "enough images")
    chosen = Recipe(name="mine", source="", epochs=1, steps_per_epoch=1, choices=(choice,))._repr_html_()
    assert "&lt;full&gt;" in chosen
    assert "enough images" in chosen
