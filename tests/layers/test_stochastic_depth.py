import keras
import numpy as np
import pytest
from contracts import check_layer

from vit_keras.layers import StochasticDepth


def train(layer, branch):
    return keras.ops.convert_to_numpy(layer(branch, training=True))


@pytest.mark.parametrize("arguments", [{"rate": 0.0}, {"rate": 0.2, "seed": 3}])
def test_contract(arguments, tmp_path):
    check_layer(StochasticDepth(**arguments), (8, 5, 8), tmp_path)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_an_image_is_skipped_whole_or_scaled_up_whole(rate):
    branch = np.random.default_rng(0).normal(size=(1024, 2, 3)).astype("float32")
    outputs = train(StochasticDepth(rate, seed=1), branch)
    skipped = (outputs == 0).all(axis=(1, 2))
    np.testing.assert_allclose(outputs[~skipped], branch[~skipped] / (1 - rate), rtol=1e-5)
    assert abs(skipped.mean() - rate) < 5 * (rate * (1 - rate) / 1024) ** 0.5


def test_the_mean_is_kept():
    outputs = train(StochasticDepth(0.2, seed=1), np.ones((4096, 1, 1), "float32"))
    assert abs(outputs.mean() - 1) < 5 * (0.2 / 0.8 / 4096) ** 0.5


@pytest.mark.parametrize("training", [False, None])
def test_inference_is_the_identity(training):
    branch = np.random.default_rng(0).normal(size=(8, 2, 3)).astype("float32")
    outputs = keras.ops.convert_to_numpy(StochasticDepth(0.9)(branch, training=training))
    np.testing.assert_array_equal(outputs, branch)


def test_a_rate_of_zero_is_the_identity_in_training_too():
    branch = np.random.default_rng(0).normal(size=(8, 2, 3)).astype("float32")
    np.testing.assert_array_equal(train(StochasticDepth(0.0), branch), branch)


def test_a_seed_fixes_the_choices_and_every_call_makes_new_ones():
    branch = np.ones((64, 1, 1), "float32")
    one, other = StochasticDepth(0.5, seed=7), StochasticDepth(0.5, seed=7)
    first, second = train(one, branch), train(one, branch)
    np.testing.assert_array_equal(train(other, branch), first)
    assert (first != second).any()


@pytest.mark.parametrize("rate", [-0.1, 1, 1.0, True, float("nan")])
def test_refuses_a_rate_that_is_no_fraction(rate):
    with pytest.raises(ValueError, match=r"StochasticDepth needs fractions in \[0, 1\), not rate="):
        StochasticDepth(rate)
