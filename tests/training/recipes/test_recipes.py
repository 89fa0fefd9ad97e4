import json
import math

import keras
import numpy as np
import pytest

from vit_keras import presets
from vit_keras.data import Augmentation, ImageData, Split
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.training import Recipe, recipes
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.best_weights import RestoreBestWeights
from vit_keras.training.callbacks.epoch_clock import TellEpoch

JIT = "auto" if keras.backend.backend() == "jax" else False  # compiling a tiny model takes longer than training it


def mine(**fields):
    return Recipe(**{"name": "mine", "source": "", "epochs": 10, "steps_per_epoch": 10, **fields})


def numpy_of(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


# --- the catalogue


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_recipe_is_data_that_json_holds(name):
    recipe = recipes.RECIPES[name].unsized(epochs=3, steps_per_epoch=7, class_weights=(1.0, 2.5))
    values = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    assert values["name"] == name
    assert Recipe.from_dict(values) == recipe


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_recipe_says_where_it_is_from_and_what_to_expect(name):
    recipe = recipes.RECIPES[name].unsized(epochs=3, steps_per_epoch=7)
    assert any(word in recipe.source for word in ("https://", "arXiv", "benchmarks/"))
    assert any(word in recipe.expected for word in ("%", "arXiv"))
    assert sorted(recipe.compile_kwargs()) == ["loss", "metrics", "optimizer"]


@pytest.mark.parametrize("name", sorted({preset.recipe for preset in map(presets.load_preset, presets.list_presets())}))
def test_every_recipe_that_a_preset_names_is_there(name):
    assert name in recipes.RECIPES


def test_the_ways_to_fine_tune_are_recipes():
    assert {*recipes.FINETUNING, *recipes.SCRATCH, "nearest_neighbours"} == recipes.RECIPES.keys()
    assert all(getattr(recipes, name) is recipe for name, recipe in recipes.RECIPES.items())


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 500), (100, 5), (99, 6), (500, 1), (7000, 1)])
def test_the_papers_fine_tuning_takes_as_many_epochs_as_500_steps(steps_per_epoch, epochs):
    recipe = recipes.vit_paper_finetune.unsized(epochs=77, steps_per_epoch=steps_per_epoch)
    assert recipe.epochs == epochs


@pytest.mark.parametrize(
    ("num_layers", "expected"),
    [(12, (2e-3, 0.05, 0.65, 0.1)), (24, (4e-3, 0.1, 0.75, 0.2)), (32, (4e-3, 0.1, 0.75, 0.3))],
)
def test_maes_fine_tuning_goes_by_depth(num_layers, expected):
    recipe = recipes.mae_finetune.unsized(epochs=50, steps_per_epoch=7, num_layers=num_layers)
    found = recipe.learning_rate, recipe.warmup_rate, recipe.layer_decay, recipe.stochastic_depth_rate
    assert found == expected


# --- its fields


def test_fields_of_a_recipe_may_be_replaced():
    recipe = recipes.small_images.unsized(epochs=3, steps_per_epoch=7, learning_rate=1e-4, augmentation=Augmentation())
    assert recipe.learning_rate == 1e-4
    assert recipe.augmentation == Augmentation()


def test_an_augmentation_may_be_named():
    assert mine(augmentation="light").augmentation == STRENGTHS["light"]


def test_an_unknown_field_of_a_recipe_proposes_the_closest():
    with pytest.raises(InvalidArgumentError, match=r"no \['learn_rate'\].*'learning_rate'"):
        recipes.small_images.unsized(epochs=3, steps_per_epoch=7, learn_rate=1e-4)


def test_every_wrong_field_of_a_recipe_is_refused_at_once():
    wrong = {
        "source": 5, "expected": None, "epochs": 0, "steps_per_epoch": 2.5, "accumulation": 0, "warmup_rate": 1.0,
        "label_smoothing": -0.1, "beta_2": 2, "momentum": -1, "learning_rate": -1, "weight_decay": math.nan,
        "optimizer": "adam", "schedule": "step", "loss": "mse", "method": "half", "layer_decay": 0, "clip_norm": 0,
        "class_weights": (1.0, 0.0), "augmentation": "mild", "stochastic_depth_rate": 1, "average_decay": 1.5, "patience": 0,
        "seed": -1,
    }  # fmt: skip
    with pytest.raises(InvalidArgumentError) as caught:
        Recipe(**{"name": "mine", **wrong})
    assert all(f"{name}=" in str(caught.value) for name in wrong)


@pytest.mark.parametrize("field", ["learning_rate", "warmup_rate", "weight_decay", "clip_norm", "class_weights"])
@pytest.mark.parametrize("value", ["0.1", ["0.1"]])
def test_what_is_no_number_is_refused_by_field(field, value):
    with pytest.raises(InvalidArgumentError, match=field):
        recipes.small_images.unsized(epochs=3, steps_per_epoch=7, **{field: value})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learn_rate": 1.0}, r"no \['learn_rate'\].*'learning_rate'"),
        ({"augmentation": {"flip": 0.5}}, r"augmentation has no \['flip'\]"),
        ({"augmentation": {"flip_rate": 2}}, "flip_rate=2"),
        ({"optimizer": ["adamw"]}, "optimizer="),
    ],
)
def test_a_damaged_record_of_a_recipe_is_refused(change, told):
    with pytest.raises(InvalidArgumentError, match=told):
        Recipe.from_dict({**mine().to_dict(), **change})


def test_a_record_needs_what_has_no_default_and_nothing_else():
    assert Recipe.from_dict({"name": "mine", "source": "", "epochs": 10, "steps_per_epoch": 10}) == mine()
    with pytest.raises(InvalidArgumentError, match=r"needs \['source', 'epochs'\] too"):
        Recipe.from_dict({"name": "mine", "steps_per_epoch": 10})


# --- in Keras' words


def share_of(schedule, step):
    if schedule == "constant":
        return 1.0
    gone = (step - 20) / 80
    return (1 + math.cos(math.pi * gone)) / 2 if schedule == "cosine" else 1 - gone


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_learning_rate_rises_from_zero_then_goes_on_by_its_schedule(schedule, accumulation):
    recipe = mine(
        steps_per_epoch=10 * accumulation,
        accumulation=accumulation,
        learning_rate=0.5,
        warmup_rate=0.2,
        schedule=schedule,
    )
    optimizer = recipe.compile_kwargs()["optimizer"]
    for step in (0, 5, 10, 19, 20, 40, 60, 80, 99, 100):
        expected = 0.5 * (step / 20 if step < 20 else share_of(schedule, step))
        optimizer._iterations.assign(step * accumulation)
        assert float(optimizer.learning_rate) == pytest.approx(expected, abs=1e-6), step


@pytest.mark.parametrize(("epochs", "accumulation", "steps"), [(10, 1, 100), (10, 3, 33), (1, 20, 1)])
def test_the_steps_are_the_optimizers(epochs, accumulation, steps):
    assert mine(epochs=epochs, accumulation=accumulation).optimizer_steps == steps


def test_a_rate_that_never_changes_can_be_set():
    optimizer = mine(schedule="constant", warmup_rate=0.0, learning_rate=1).compile_kwargs()["optimizer"]
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "lamb", "sgd"])
def test_a_recipes_optimizer_has_the_recipes_numbers(name):
    recipe = mine(
        optimizer=name,
        weight_decay=0.3,
        beta_2=0.9,
        momentum=0.8,
        clip_norm=0.7,
        layer_decay=0.6,
        accumulation=4,
    )
    optimizer = recipe.compile_kwargs()["optimizer"]
    values = optimizer.get_config()
    assert type(optimizer).__name__.lower() == name
    assert (values["weight_decay"], values["global_clipnorm"], values["layer_decay"]) == (0.3, 0.7, 0.6)
    assert values["gradient_accumulation_steps"] == 4
    own = {
        "adamw": {"beta_2": 0.9},
        "muon": {"adam_beta_2": 0.9, "adam_weight_decay": 0.3},
        "lion": {"beta_2": 0.99},
        "lamb": {"beta_2": 0.9},
        "sgd": {"momentum": 0.8},
    }[name]
    assert {key: values[key] for key in own} == own


def test_a_recipes_loss_has_the_recipes_numbers():
    for name in ("crossentropy", "binary_crossentropy"):
        loss = mine(loss=name, label_smoothing=0.2, class_weights=(1.0, 3.0)).compile_kwargs()["loss"]
        assert (loss.name, loss.label_smoothing, loss.class_weights) == (name, 0.2, [1.0, 3.0])


def test_the_callbacks_are_those_that_the_recipe_asks_for():
    assert [type(callback) for callback in mine().callbacks()] == [TellEpoch, keras.callbacks.TerminateOnNaN]
    _, _, average, best = mine(average_decay=0.9, patience=3).callbacks()
    assert (type(average), average.decay, type(best), best.patience) == (
        ExponentialMovingAverage,
        0.9,
        RestoreBestWeights,
        3,
    )
    assert best.average is average


def test_each_look_at_a_recipe_gives_a_new_optimizer_and_new_callbacks():
    recipe = recipes.from_scratch.unsized(epochs=1, steps_per_epoch=1)
    assert recipe.compile_kwargs()["optimizer"] is not recipe.compile_kwargs()["optimizer"]
    assert recipe.callbacks()[0] is not recipe.callbacks()[0]


# --- the user's own fit


@pytest.fixture(scope="module")
def data():
    """Dark images are class 0, bright ones class 1."""
    rng, splits = np.random.default_rng(0), {}
    for name, count in (("train", 64), ("validation", 16), ("test", 16)):
        labels = np.arange(count) % 2
        pixels = rng.integers(0, 100, (count, 16, 16, 3)) + 150 * labels[:, None, None, None]
        splits[name] = Split(pixels.astype("uint8"), labels)
    return ImageData(name="brightness", class_names=("dark", "bright"), splits=splits, batch_size=16)


OWN = {
    "small_images": {"learning_rate": 1e-2, "augmentation": Augmentation()},
    "finetune": {
        "learning_rate": 2e-2,
        "augmentation": Augmentation(mixup_alpha=0.2),  # targets in training, labels in validation
        "class_weights": (1.0, 2.0),
        "accumulation": 2,
        "average_decay": 0.5,
        "patience": 9,
    },
}


@pytest.mark.parametrize("name", OWN)
def test_a_recipe_trains_in_the_users_own_fit_and_the_compiled_model_survives_a_file(data, tiny_config, tmp_path, name):
    keras.utils.set_random_seed(0)
    recipe = recipes.RECIPES[name].unsized(epochs=8, steps_per_epoch=data.steps_per_epoch, **OWN[name])
    model = vit(tiny_config.replace(num_layers=1), num_classes=2)
    model.compile(**recipe.compile_kwargs(), jit_compile=JIT)
    history = model.fit(
        data.training_batches(epochs=recipe.epochs, augmentation=recipe.augmentation),
        steps_per_epoch=recipe.steps_per_epoch,
        epochs=recipe.epochs,
        validation_data=data.validation,
        callbacks=recipe.callbacks(),
        shuffle=False,
        verbose=0,
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_accuracy"][-1] == 1
    assert model.evaluate(data.test, verbose=0)[1] == 1
    assert int(model.optimizer.iterations) == recipe.optimizer_steps
    model.save(tmp_path / "mine.keras")
    loaded = keras.saving.load_model(tmp_path / "mine.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.loss.get_config() == model.loss.get_config()
    for old, new in zip(numpy_of(model.optimizer.variables), numpy_of(loaded.optimizer.variables), strict=True):
        np.testing.assert_array_equal(new, old)
    assert loaded.evaluate(data.test, verbose=0) == model.evaluate(data.test, verbose=0)
