import json

import keras
import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.best_weights import RestoreBestWeights
from vit_keras.training.checkpoints.state import get_callback_states, set_callback_states


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.stop_training = False
    return model


def run_epochs(callback, model, values, *, first=0, name="val_loss"):
    """Ends epochs with these values and a kernel of the epoch's number until training stops; returns the last epoch."""
    callback.set_model(model)
    for epoch, value in enumerate(values, first):
        model.weights[0].assign(np.full((2, 1), float(epoch)))
        callback.on_epoch_end(epoch, {"loss": 1.0, name: value})
        if model.stop_training:
            break
    return epoch


def read_kernel(model):
    return float(keras.ops.convert_to_numpy(model.weights[0])[0, 0])


def test_the_model_ends_with_the_best_epoch(model):
    best = RestoreBestWeights()
    assert run_epochs(best, model, [0.5, np.nan, 0.3, 0.3, 0.4]) == 4
    best.on_train_end()
    assert (best.epoch, best.best, read_kernel(model)) == (2, 0.3, 2.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_patience_counts_epochs_without_improvement(model, value):
    best = RestoreBestWeights("val_accuracy", patience=3)
    assert run_epochs(best, model, [0.1, 0.5, 0.5, value, 0.4, 0.9], name="val_accuracy") == 4
    best.on_train_end()
    assert read_kernel(model) == 1.0


def test_without_a_finite_value_the_model_keeps_its_weights(model):
    best = RestoreBestWeights()
    run_epochs(best, model, [np.nan, np.nan])
    best.on_train_end()
    assert (best.best, best.epoch, read_kernel(model)) == (None, None, 1.0)


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
    for variable, array, restarted in zip(model.weights, record.averages[epoch], average.arrays(), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), array)
        np.testing.assert_array_equal(restarted, array)


@pytest.mark.parametrize("arguments", [{"patience": 0}, {"better": "max"}, {"monitor": "mystery"}])
def test_illegal_arguments_are_refused(arguments):
    with pytest.raises(InvalidArgumentError):
        RestoreBestWeights(**arguments)


def test_a_metric_that_does_not_exist_is_named(model):
    with pytest.raises(
        InvalidArgumentError, match=r"no metric 'val_auc' to monitor: the epoch has \['loss', 'val_loss'\]"
    ):
        run_epochs(RestoreBestWeights("val_auc"), model, [1.0])
    best = RestoreBestWeights()
    run_epochs(best, model, [1.0], name="accuracy")  # an epoch without validation
    with pytest.raises(InvalidArgumentError, match="No epoch had the metric 'val_loss'"):
        best.on_train_end()
