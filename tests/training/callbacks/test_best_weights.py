import json

import keras
import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.best_weights import RestoreBestWeights
from vit_keras.training.checkpoints.state import callbacks_state, set_callbacks_state


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.stop_training = False
    return model


def told(callback, model, values, *, first=0, name="val_loss"):
    """Tells a callback of epochs in which the kernel is the epoch's number, until it ends training."""
    callback.set_model(model)
    for epoch, value in enumerate(values, first):
        model.weights[0].assign(np.full((2, 1), float(epoch)))
        callback.on_epoch_end(epoch, {"loss": 1.0, name: value})
        if model.stop_training:
            break
    return epoch


def kernel(model):
    return float(keras.ops.convert_to_numpy(model.weights[0])[0, 0])


def test_the_model_ends_with_the_best_epoch(model):
    best = RestoreBestWeights()
    assert told(best, model, [0.5, np.nan, 0.3, 0.3, 0.4]) == 4
    best.on_train_end()
    assert (best.epoch, best.best, kernel(model)) == (2, 0.3, 2.0)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_patience_counts_epochs_that_are_no_better(model, number):
    best = RestoreBestWeights("val_accuracy", patience=3)
    assert told(best, model, [0.1, 0.5, 0.5, number, 0.4, 0.9], name="val_accuracy") == 4
    best.on_train_end()
    assert kernel(model) == 1.0


def test_numbers_that_are_none_keep_the_weights_as_they_are(model):
    best = RestoreBestWeights()
    told(best, model, [np.nan, np.nan])
    best.on_train_end()
    assert (best.best, best.epoch, kernel(model)) == (None, None, 1.0)


def test_its_state_goes_on(model):
    values = [0.5, 0.4, 0.6, 0.45, 0.3]
    begun, resumed = RestoreBestWeights(patience=3), RestoreBestWeights(patience=3)
    told(begun, model, values[:3])
    arrays, states = callbacks_state([begun])
    set_callbacks_state([resumed], arrays, json.loads(json.dumps(states)), where="memory")
    assert told(resumed, model, [0.45, 0.41, 0.3], first=3) == 4  # one epoch waited before, two after
    resumed.on_train_end()
    assert (resumed.epoch, kernel(model)) == (1, 1.0)


@pytest.mark.parametrize("average_first", [True, False])
def test_with_an_average_the_best_average_is_left(average_first):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.3), "mse")
    x, y = np.eye(2, dtype="float32"), np.array([[1.0], [2.0]], "float32")
    average = ExponentialMovingAverage(0.9)
    best = RestoreBestWeights(average=average)
    watched = Watched(average)
    callbacks = [average, best, watched] if average_first else [best, average, watched]
    validation = x, watched.target
    model.fit(x, y, validation_data=validation, epochs=6, batch_size=1, verbose=0, shuffle=False, callbacks=callbacks)
    place = int(np.argmin(watched.losses))
    assert 0 < place < 5, watched.losses  # the best is neither the first nor the last
    assert best.epoch == place
    for variable, array, kept in zip(model.weights, watched.averages[place], average.arrays(), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), array)
        np.testing.assert_array_equal(kept, array)


class Watched(keras.callbacks.Callback):
    """Keeps what validation said of the average each epoch; the target lies on the way to the weights' optimum."""

    target = np.array([[0.9], [1.3]], "float32")

    def __init__(self, average):
        super().__init__()
        self.average, self.losses, self.averages = average, [], []

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["val_loss"])
        self.averages.append(self.average.arrays())


@pytest.mark.parametrize("arguments", [{"patience": 0}, {"better": "max"}, {"monitor": "mystery"}])
def test_what_is_not_legal_is_refused(arguments):
    with pytest.raises(InvalidArgumentError):
        RestoreBestWeights(**arguments)
