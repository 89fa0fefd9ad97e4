import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_keras import vit
from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.tuning import Choice, FloatRange, IntRange, SearchSpace, ViTHyperModel

SPACE = SearchSpace({"depth": IntRange(2, 12, step=2), "rate": FloatRange(1e-4, 1e-2, log=True), "stem": Choice(("a", "b"))})  # fmt: skip
DIMENSIONS = [
    IntRange(2, 12, step=2),
    IntRange(3, 3),
    FloatRange(1e-4, 1e-2, log=True),
    FloatRange(-1.0, 2.5),
    Choice((16, 32, 64)),
    Choice(("conv", "patch")),
    Choice((True, False)),
]


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=str)
@given(place=st.floats(0, 1))
def test_values_and_places_are_inverse(dimension, place):
    value = dimension.from_unit(place)
    assert dimension.has(value)
    assert 0 <= dimension.to_unit(value) <= 1
    assert dimension.from_unit(dimension.to_unit(value)) == value
    assert all(0 <= place <= 1 for place in dimension.coordinates(value))


def test_a_space_survives_json_and_pickle_and_encodes_values():
    again = SearchSpace.from_dict(json.loads(json.dumps(SPACE.to_dict())))
    assert again.digest == SPACE.digest == pickle.loads(pickle.dumps(SPACE)).digest
    assert again.has(SPACE.sample(np.random.default_rng(0)))
    point = again.encode({"depth": 2, "rate": 1e-3, "stem": "b"})
    np.testing.assert_allclose(point, [1 / 12, 0.5, 0.0, 1.0])  # strings are one-hot


def test_a_space_is_fixed_narrowed_and_added_to():
    space = SPACE.fix(stem="a").narrow(depth=IntRange(4, 6)).add(heads=Choice((1, 2)))
    values = [space.sample(np.random.default_rng(seed)) for seed in range(50)]
    assert {each["stem"] for each in values} == {"a"}
    assert {each["depth"] for each in values} == {4, 5, 6}


def test_a_toml_or_json_file_is_read(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('num_layers = {low = 2, high = 6}\nlearning_rate = {low = 1e-4, high = 1e-3, log = true}\nstem = "patch"\npatch_size = [4, 8]\n')  # fmt: skip
    space = SearchSpace.from_file(path)
    assert space.dimensions == {
        "num_layers": IntRange(2, 6),
        "learning_rate": FloatRange(1e-4, 1e-3, log=True),
        "stem": Choice(("patch",)),
        "patch_size": Choice((4, 8)),
    }
    (tmp_path / "space.json").write_text(json.dumps(space.to_dict()))
    assert SearchSpace.from_file(tmp_path / "space.json").digest == space.digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("stem = []", "stem is not a dimension"),
        ("depth = {low = 5, high = 2}", "depth is not a dimension"),
        ("rate = {low = 0.0, high = 2.0, log = true}", "low > 0 where log=True"),
        ("depth = {from = 5}", "depth is not a dimension"),
        ("depth = [1, 'two']", "all numbers, all strings"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path, content, message):
    path = tmp_path / "space.toml"
    path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        SearchSpace.from_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("limits", [{}, {"max_params": 200_000, "max_macs": 3_000_000}, {"max_memory": 20_000_000}])
def test_samples_are_legal_different_and_within_the_limits(limits):
    hypermodel = ViTHyperModel(28, 10, channels=1, **limits)
    pairs = hypermodel.sample(300, seed=1)
    assert len({json.dumps(values, sort_keys=True) for values, _ in pairs}) == 300
    assert not any(hypermodel.find_problems(values) for values, _ in pairs)
    assert all(hypermodel.space.has(values) for values, _ in pairs)
    assert {config.num_layers for _, config in pairs} > {2, 3, 4}
    assert pairs == hypermodel.sample(300, seed=1)


def test_costs_are_those_of_the_model_that_is_built():
    hypermodel = ViTHyperModel(32, 10, max_params=100_000)
    for values, config in hypermodel.sample(2, seed=5):
        weights = vit(config, num_classes=10).trainable_weights
        assert sum(math.prod(weight.shape) for weight in weights) == hypermodel.compute_costs(values)["params"]


@pytest.mark.parametrize("max_params", [8_000, 100_000])
def test_the_default_is_within_the_limits(max_params):
    hypermodel = ViTHyperModel(32, 8, max_params=max_params)
    assert not hypermodel.find_problems(hypermodel.default_values())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SearchSpace.from_file("missing.toml"), CorruptFileError, "could not be read"),
        (lambda: SearchSpace({}), InvalidArgumentError, "empty"),
        (lambda: SPACE.fix(dept=3), InvalidArgumentError, r"no dept; the closest are depth"),
        (lambda: ViTHyperModel(28, 10, channels=1, max_params=3000), InvalidArgumentError, "has 5,738 parameters"),
        (lambda: ViTHyperModel(32, 10, space={"hidden_dim": [64, 128]}), InvalidArgumentError, "hidden_dim"),
        (lambda: ViTHyperModel(31, 10), InvalidArgumentError, "patches"),
    ],
)
def test_what_makes_no_space_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_any_field_of_config_or_recipe_can_be_tuned():
    hypermodel = ViTHyperModel(32, 10, space={"qk_norm": [True], "label_smoothing": [0.0, 0.2], "optimizer": ["lion"]})
    values, config = hypermodel.sample(1)[0]
    recipe = hypermodel.make_recipe(values, epochs=3, steps_per_epoch=5)
    assert config.qk_norm
    assert (recipe.optimizer, recipe.label_smoothing) == ("lion", values["label_smoothing"])
