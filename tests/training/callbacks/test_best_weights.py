import json

import keras
import numpy as np
import pytest
from training.callbacks.epochs import read_kernel, run_epochs
from training.weights import arrays, assert_equal

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.best_weights import RestoreBestWeights
from vit_keras.training.checkpoints.state import get_callback_states, set_callback_states


@pytest.mark.parametrize(
    ("values", "epoch", "value", "kernel"),
    [([0.5, np.nan, 0.3, 0.3, 0.4], 2, 0.3, 2.0), ([np.nan, np.nan], None, None, 1.0)],
)
def test_the_model_ends_with_the_best_epoch_or_its_last_weights(model, values, epoch, value, kernel):
    best = RestoreBestWeights()
    assert run_epochs(best, model, values) == len(values) - 1
    best.on_train_end()
    assert (best.epoch, best.best, read_kernel(model)) == (epoch, value, kernel)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_patience_counts_epochs_without_improvement(model, value):
    best = RestoreBestWeights("val_accuracy", patience=3)
    assert run_epochs(best, model, [0.1, 0.5, 0.5, value, 0.4, 0.9], name="val_accuracy") == 4
    best.on_train_end()
    assert read_kernel(model) == 1.0


def test_the_state_is_restored(model):
    values = [0.5, 0.4, 0.6, 0.45, 0.3]
    first, resumed = RestoreBestWeights(patience=3), RestoreBestWeights(patience=3)
    run_epochs(first, model, values[:3])
    arrays, states = get_callback_states([first])
    set_callback_states([resumed], arrays, json.loads(json.dumps(states)), where="memory")
    assert run_epochs(resumed, model, [0.45, 0.41, 0.3], first=3) == 4  # one epoch waited before, two after
    resumed.on_train_end()
    assert (resumed.epoch, read_kernel(model)) == (1, 1.0)


class RecordAverages(keras.callbacks.Callback):
    """Records the validation loss and the averages of each epoch."""

    def __init__(self, average):
        super().__init__()
        self.average, self.losses, self.averages = average, [], []

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["val_loss"])
        self.averages.append(self.average.arrays())


@pytest.mark.parametrize("average_first", [True, False])
def test_with_an_average_the_best_average_is_restored(average_first):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.3), "mse")
    x, y = np.eye(2, dtype="float32"), np.array([[1.0], [2.0]], "float32")
    on_the_way = np.array([[0.9], [1.3]], "float32")  # the validation target, passed before the weights' optimum
    average = ExponentialMovingAverage(0.9)
    best, record = RestoreBestWeights(average=average), RecordAverages(average)
    callbacks = [average, best, record] if average_first else [best, average, record]
    options = {"epochs": 6, "batch_size": 1, "verbose": 0, "shuffle": False, "callbacks": callbacks}
    model.fit(x, y, validation_data=(x, on_the_way), **options)
    epoch = int(np.argmin(record.losses))
    assert 0 < epoch < 5, record.losses
    assert best.epoch == epoch
    for found in (arrays(model.weights), average.arrays()):
        assert_equal(found, record.averages[epoch])


def test_illegal_arguments_are_refused_and_a_metric_that_does_not_exist_is_named(model):
    for arguments in ({"patience": 0}, {"better": "max"}, {"monitor": "mystery"}):
        with pytest.raises(InvalidArgumentError, match=str(next(iter(arguments.values())))):
            RestoreBestWeights(**arguments)
    with pytest.raises(InvalidArgumentError, match=r"'val_auc' to monitor: the epoch has loss, val_loss"):
        run_epochs(RestoreBestWeights("val_auc"), model, [1.0])
    best = RestoreBestWeights()
    run_epochs(best, model, [1.0], name="accuracy")  # an epoch without validation
    with pytest.raises(InvalidArgumentError, match="No epoch had the metric 'val_loss'"):
        best.on_train_end()
