import numpy as np
import oracle
import pytest

from vit_keras.layers import StochasticDepth


@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_an_image_is_dropped_whole_or_scaled_up_whole_so_that_the_mean_stays(rate):
    branch = oracle.tokens(1024, 2, 3)
    outputs = oracle.call(StochasticDepth(rate, seed=1), branch, training=True)
    dropped = (outputs == 0).all(axis=(1, 2))
    np.testing.assert_allclose(outputs[~dropped], branch[~dropped] / (1 - rate), rtol=1e-5)
    assert abs(dropped.mean() - rate) < 5 * (rate * (1 - rate) / 1024) ** 0.5


@pytest.mark.parametrize(("rate", "training"), [(0.9, False), (0.9, None), (0.0, True)])
def test_inference_and_a_rate_of_zero_are_the_identity(rate, training):
    np.testing.assert_array_equal(
        oracle.call(StochasticDepth(rate), oracle.tokens(), training=training), oracle.tokens()
    )


def test_a_seed_fixes_the_choices_and_every_call_makes_new_ones():
    branch = np.ones((64, 1, 1), "float32")
    one, other = StochasticDepth(0.5, seed=7), StochasticDepth(0.5, seed=7)
    first, second, again = (oracle.call(layer, branch, training=True) for layer in (one, one, other))
    np.testing.assert_array_equal(again, first)
    assert (first != second).any()
