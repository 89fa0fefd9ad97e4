import json

import keras
import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError, ResumeError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.checkpoints.state import get_arrays, get_callback_states, set_arrays, set_callback_states

JIT = "auto" if keras.backend.backend() == "jax" else False
STEPS = 4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    return rng.normal(size=(4 * STEPS, 6)).astype("float32"), rng.integers(0, 3, 4 * STEPS)


def build(frozen=(), dtype="float32"):
    keras.utils.set_random_seed(5)
    hidden = keras.layers.Dense(5, name="hidden", dtype=dtype, trainable="hidden" not in frozen)
    head = keras.layers.Dense(3, name="head", dtype=dtype)
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dropout(0.2), head], name="small")
    return compiled(model)


def compiled(model):
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(True), jit_compile=JIT)
    return model


class Recorder(keras.callbacks.Callback):
    """Saves the trainable weights at the start and after each step."""

    def on_train_begin(self, logs=None):
        self.seen = [weights_of(self.model)]

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(weights_of(self.model))


class SaveState(keras.callbacks.Callback):
    """Saves the state of the model and of another callback when an epoch ends."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def on_epoch_end(self, epoch, logs=None):
        self.model_arrays, self.state = get_arrays(self.model), get_callback_states([self.other])


def weights_of(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


def fit(model, data, callbacks, *, epochs=1, **options):
    return model.fit(*data, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **options)


def assert_equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("decay", "every"), [(0.999, 1), (0.15, 2)])
def test_the_average_follows_the_formula_and_the_model_ends_with_it(data, decay, every):
    average, recorder, model = ExponentialMovingAverage(decay, every=every), Recorder(), build()
    fit(model, data, [average, recorder])
    expected = [array.astype("float64") for array in recorder.seen[0]]
    for update, weights in enumerate(recorder.seen[every::every]):
        keep = min(decay, (1 + update) / (10 + update))
        expected = [keep * mean + (1 - keep) * weight for mean, weight in zip(expected, weights, strict=True)]
    for mean, array in zip(expected, average.arrays(), strict=True):
        np.testing.assert_allclose(array, mean, atol=2e-6)
    assert_equal(weights_of(model), average.arrays())
    assert any(
        np.abs(array - last).max() > 1e-3 for array, last in zip(average.arrays(), recorder.seen[-1], strict=True)
    )

    alone = ExponentialMovingAverage(decay, every=every)  # no other callback reads the weights after each step
    fit(build(), data, [alone])
    assert_equal(average.arrays(), alone.arrays())


def test_validation_uses_the_averages_and_training_the_weights(data):
    plain = build()
    fit(plain, data, [], epochs=2, validation_data=data)  # on torch, validation draws from the same generator
    model, average = build(), ExponentialMovingAverage(0.9, final="weights")
    history = fit(model, data, [average], epochs=2, validation_data=data).history
    assert_equal(weights_of(model), weights_of(plain))
    for variable, array in zip(model.trainable_variables, average.arrays(), strict=True):
        variable.assign(array)
    np.testing.assert_allclose(model.evaluate(*data, batch_size=4, verbose=0), history["val_loss"][-1], rtol=1e-6)
    assert abs(plain.evaluate(*data, batch_size=4, verbose=0) - history["val_loss"][-1]) > 1e-4


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(data):
    uninterrupted, average = build(), ExponentialMovingAverage(0.9)
    fit(uninterrupted, data, [average], epochs=2, validation_data=data)

    first = ExponentialMovingAverage(0.9)
    saved = SaveState(first)
    fit(build(), data, [first, saved], validation_data=data)
    arrays, states = saved.state

    model, resumed = build(), ExponentialMovingAverage(0.9)
    model.train_on_batch(data[0][:4], data[1][:4])  # builds optimizer and metrics
    set_arrays(model, saved.model_arrays, where="memory")
    set_callback_states([resumed], arrays, json.loads(json.dumps(states)), where="memory")
    fit(model, data, [resumed], epochs=2, initial_epoch=1, validation_data=data)
    assert_equal(weights_of(model), weights_of(uninterrupted))
    assert resumed.get_state().keys() == average.get_state().keys()
    assert resumed.updates == 2 * STEPS


def test_the_state_is_a_copy_and_a_second_fit_continues(data):
    model, average = build(), ExponentialMovingAverage(0.5)
    fit(model, data, [average])
    state = average.get_state()
    expected = {name: np.array(value) for name, value in state.items()}
    fit(model, data, [average])
    for name, value in state.items():
        np.testing.assert_array_equal(value, expected[name])
    assert average.updates == 2 * STEPS


def test_frozen_weights_are_left_out_and_unfreezing_restarts(data):
    model, average = build(frozen=["hidden"]), ExponentialMovingAverage()
    fit(model, data, [average])
    assert [variable.path.split("/")[-2:] for variable in average.variables] == [["head", "kernel"], ["head", "bias"]]
    model.get_layer("hidden").trainable = True
    fit(compiled(model), data, [average])
    assert (average.updates, len(average.arrays())) == (STEPS, 4)


def test_averages_of_bfloat16_weights_are_float32(data):
    model, average = build(dtype="bfloat16"), ExponentialMovingAverage(0.99)
    fit(model, data, [average], validation_data=data)
    assert {str(array.dtype) for array in average.arrays()} == {"float32"}
    for variable, array in zip(model.trainable_variables, average.arrays(), strict=True):
        value = keras.ops.convert_to_numpy(keras.ops.cast(variable.value, "float32"))
        assert keras.backend.standardize_dtype(variable.dtype) == "bfloat16"
        np.testing.assert_allclose(value, array, rtol=2**-8)  # half a unit in the last place of bfloat16


def test_the_average_of_another_model_is_refused(data):
    average, other = ExponentialMovingAverage(), ExponentialMovingAverage()
    fit(build(), data, [average])
    other.set_state(average.get_state())
    with pytest.raises(ResumeError, match="The saved averages are of 4 variables, and the model trains 2"):
        fit(build(frozen=["hidden"]), data, [other])


@pytest.mark.parametrize("arguments", [{"decay": 1.0}, {"decay": "a"}, {"every": 0}, {"final": "mean"}])
def test_illegal_arguments_are_refused(arguments):
    with pytest.raises(InvalidArgumentError):
        ExponentialMovingAverage(**arguments)
