import json

import keras
import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError, ResumeError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.checkpoints.state import arrays_of, assign, callbacks_state, set_callbacks_state

JIT = "auto" if keras.backend.backend() == "jax" else False
STEPS = 4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    return rng.normal(size=(4 * STEPS, 6)).astype("float32"), rng.integers(0, 3, 4 * STEPS)


@pytest.fixture
def make():
    def build(frozen=(), dtype="float32"):
        keras.utils.set_random_seed(5)
        hidden, head = (
            keras.layers.Dense(width, name=name, dtype=dtype) for width, name in ((5, "hidden"), (3, "head"))
        )
        model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dropout(0.2), head], name="small")
        for name in frozen:
            model.get_layer(name).trainable = False
        return compiled(model)

    return build


def compiled(model):
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(True), jit_compile=JIT)
    return model


class Recorder(keras.callbacks.Callback):
    """Keeps the trainable weights as they were at the start and after each step."""

    def on_train_begin(self, logs=None):
        self.seen = [trained(self.model)]

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(trained(self.model))


def trained(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


def fit(model, data, callbacks, *, epochs=1, **options):
    return model.fit(*data, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **options)


def assert_equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("decay", "every"), [(0.999, 1), (0.15, 2)])
def test_it_is_the_formula_and_the_model_ends_with_it(make, data, decay, every):
    average, recorder, model = ExponentialMovingAverage(decay, every=every), Recorder(), make()
    fit(model, data, [average, recorder])
    expected = [array.astype("float64") for array in recorder.seen[0]]
    for update, weights in enumerate(recorder.seen[every::every]):
        stays = min(decay, (1 + update) / (10 + update))
        expected = [stays * mean + (1 - stays) * weight for mean, weight in zip(expected, weights, strict=True)]
    for mean, array in zip(expected, average.arrays(), strict=True):
        np.testing.assert_allclose(array, mean, atol=2e-6)
    assert_equal(trained(model), average.arrays())
    assert any(np.abs(array - last).max() > 1e-3 for array, last in zip(trained(model), recorder.seen[-1], strict=True))

    alone, again = (
        ExponentialMovingAverage(decay, every=every),
        make(),
    )  # nobody else asks for the weights after each step
    fit(again, data, [alone])
    assert_equal(average.arrays(), alone.arrays())


def test_validation_sees_the_averages_and_training_the_weights(make, data):
    plain = make()
    fit(
        plain, data, [], epochs=2, validation_data=data
    )  # validated too: on torch each look at data draws from the seed
    model = make()  # only now, because it sets the seed
    average = ExponentialMovingAverage(0.9, final="weights")
    history = fit(model, data, [average], epochs=2, validation_data=data).history
    assert_equal(trained(model), trained(plain))
    for variable, array in zip(model.trainable_variables, average.arrays(), strict=True):
        variable.assign(array)
    np.testing.assert_allclose(model.evaluate(*data, batch_size=4, verbose=0), history["val_loss"][-1], rtol=1e-6)
    assert abs(plain.evaluate(*data, batch_size=4, verbose=0) - history["val_loss"][-1]) > 1e-4


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(make, data):
    whole, average = make(), ExponentialMovingAverage(0.9)
    fit(whole, data, [average], epochs=2, validation_data=data)

    first, begun = make(), ExponentialMovingAverage(0.9)
    keep = Keep(begun)
    fit(first, data, [begun, keep], validation_data=data)
    arrays, states = keep.state

    second, resumed = make(), ExponentialMovingAverage(0.9)
    second.train_on_batch(data[0][:4], data[1][:4])  # for everything to be there
    assign(second, keep.model_arrays, where="memory")
    set_callbacks_state([resumed], arrays, json.loads(json.dumps(states)), where="memory")
    fit(second, data, [resumed], epochs=2, initial_epoch=1, validation_data=data)
    assert_equal(trained(second), trained(whole))
    assert resumed.get_state().keys() == average.get_state().keys()
    assert resumed.updates == 2 * STEPS


class Keep(keras.callbacks.Callback):
    """Keeps the state of a model and of a callback when an epoch ends."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def on_epoch_end(self, epoch, logs=None):
        self.model_arrays, self.state = arrays_of(self.model), callbacks_state([self.other])


def test_the_state_is_a_copy(make, data):
    model, average = make(), ExponentialMovingAverage(0.5)
    fit(model, data, [average])
    kept = {name: np.array(value) for name, value in average.get_state().items()}
    given = average.get_state()
    fit(model, data, [average])
    model.evaluate(*data, verbose=0)
    for name, value in given.items():
        np.testing.assert_array_equal(value, kept[name])
    assert average.updates == 2 * STEPS  # a second fit goes on


def test_frozen_weights_are_left_out(make, data):
    model, average = make(frozen=("hidden",)), ExponentialMovingAverage()
    fit(model, data, [average])
    assert [variable.path.split("/")[-2:] for variable in average.variables] == [["head", "kernel"], ["head", "bias"]]
    model.get_layer("hidden").trainable = True
    fit(compiled(model), data, [average])
    assert (average.updates, len(average.arrays())) == (STEPS, 4)  # from the start again, with all


def test_averages_of_narrow_weights_are_wide(make, data):
    model, average = make(dtype="bfloat16"), ExponentialMovingAverage(0.99)
    fit(model, data, [average], validation_data=data)
    assert {str(array.dtype) for array in average.arrays()} == {"float32"}
    for variable, array in zip(model.trainable_variables, average.arrays(), strict=True):
        held = keras.ops.convert_to_numpy(keras.ops.cast(variable.value, "float32"))
        assert keras.backend.standardize_dtype(variable.dtype) == "bfloat16"
        np.testing.assert_allclose(held, array, rtol=2**-8)  # half a unit in bfloat16's last place


def test_the_average_of_another_model_is_refused(make, data):
    average, other = ExponentialMovingAverage(), ExponentialMovingAverage()
    fit(make(), data, [average])
    other.set_state(average.get_state())
    with pytest.raises(ResumeError, match="averages to go on from"):
        fit(make(frozen=("hidden",)), data, [other])


@pytest.mark.parametrize("arguments", [{"decay": 1.0}, {"decay": "a"}, {"every": 0}, {"final": "mean"}])
def test_what_is_not_legal_is_refused(arguments):
    with pytest.raises(InvalidArgumentError):
        ExponentialMovingAverage(**arguments)
