import json

import keras
import numpy as np
import pytest
from training.callbacks.epochs import run_epochs
from training.weights import arrays

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.snapshots import restore_snapshot, take_snapshot
from vit_keras.training.checkpoints.state import get_callback_states, set_callback_states
from vit_keras.training.transfer.soup import BestCheckpoints, greedy_soup


def weights(*numbers):
    return {"w": np.array(numbers, "float32"), "count": np.array(7)}


def nearness(target):
    return lambda candidate: -float(np.abs(candidate["w"] - target).sum())


def test_the_algorithm_is_that_of_the_paper():
    candidates = [weights(1.0), weights(4.5), weights(2.5), weights(1.9)]
    scored = []

    def score(candidate):
        scored.append(float(candidate["w"][0]))
        return nearness(1.8)(candidate)

    soup, chosen = greedy_soup(candidates, score)
    assert chosen == [0, 2, 3]
    np.testing.assert_allclose(scored, [1.0, 2.75, 1.75, 1.8])  # each averaged with those chosen so far
    np.testing.assert_allclose(soup["w"], [1.8])
    assert soup["w"].dtype == "float32"
    assert soup["count"] == 7


def test_a_candidate_with_an_equal_score_is_added_and_one_without_a_finite_score_skipped():
    assert greedy_soup([weights(1.0), weights(3.0)], lambda _: 0.5)[1] == [0, 1]
    candidates = [weights(np.nan), weights(1.0), weights(3.0)]
    soup, chosen = greedy_soup(candidates, lambda candidate: float(candidate["w"][0]))
    assert chosen == [1, 2]
    np.testing.assert_array_equal(soup["w"], [2.0])


def test_wrong_candidates_are_refused():
    with pytest.raises(InvalidArgumentError, match="needs at least one candidate"):
        greedy_soup([], lambda _: 0.0)
    with pytest.raises(InvalidArgumentError, match="finite score"):
        greedy_soup([weights(1.0)], lambda _: float("nan"))
    with pytest.raises(WeightMismatchError, match=r"Candidate 1 .*, such as w\."):
        greedy_soup([weights(1.0), weights(1.0, 2.0)], lambda _: 0.0)


def kernels(callback):
    return [float(kept["0000/kernel"][0, 0]) for kept in callback.weights]


def test_the_best_epochs_are_kept_in_order(model):
    kept, more = BestCheckpoints(3), BestCheckpoints(2, monitor="val_accuracy")
    run_epochs(kept, model, [0.5, np.nan, 0.4, 0.9, 0.4, np.inf, 0.45])
    assert (kept.epochs, kept.values) == ([2, 4, 6], [0.4, 0.4, 0.45])  # the earlier of two equals first
    assert kernels(kept) == [2, 4, 6]
    run_epochs(more, model, [0.5, 0.9, 0.7, 0.9], name="val_accuracy")
    assert (more.epochs, kernels(more)) == ([1, 3], [1, 3])


def test_the_state_is_restored(model):
    values = [0.5, 0.4, 0.9, 0.3, 0.35]
    whole, begun, resumed = (BestCheckpoints(2) for _ in range(3))
    run_epochs(whole, model, values)
    run_epochs(begun, model, values[:3])
    kept, states = get_callback_states([begun])
    set_callback_states([resumed], kept, json.loads(json.dumps(states)), where="memory")
    run_epochs(resumed, model, values[3:], first=3)
    assert (resumed.epochs, resumed.values, kernels(resumed)) == (whole.epochs, whole.values, kernels(whole))
    assert kernels(resumed) == [3, 4]


def test_the_average_is_kept_instead_of_the_weights(model):
    average = ExponentialMovingAverage()
    average.set_model(model)
    average.on_train_begin()  # at zero
    kept = BestCheckpoints(1, average=average)
    run_epochs(kept, model, [0.5, 0.4])
    assert (kept.epochs, kernels(kept)) == ([1], [0.0])


def test_weights_of_another_model_are_refused_before_any_is_assigned(model):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(WeightMismatchError, match="0000/kernel"):
        restore_snapshot(model, take_snapshot(other))
    kept = take_snapshot(model)
    model.weights[1].assign([5.0])
    restore_snapshot(model, kept)
    np.testing.assert_array_equal(arrays(model.weights)[1], [0.0])


def test_a_missing_metric_is_named(model):
    with pytest.raises(InvalidArgumentError, match=r"no metric 'val_acc' .*loss, val_loss"):
        run_epochs(BestCheckpoints(monitor="val_acc"), model, [0.5])
    without = BestCheckpoints()
    without.set_model(model)
    without.on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(InvalidArgumentError, match="validation_data"):
        without.on_train_end()
    for arguments, message in (({"monitor": "val_mystery"}, "which way is better"), ({"keep": 0}, "keep")):
        with pytest.raises(InvalidArgumentError, match=message):
            BestCheckpoints(**arguments)
