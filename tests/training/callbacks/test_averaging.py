import keras
import numpy as np
import pytest
from contracts import JIT
from training.weights import arrays, assert_equal

from vit_keras.errors import InvalidArgumentError, ResumeError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage

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
        self.seen = [arrays(self.model.trainable_variables)]

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(arrays(self.model.trainable_variables))


def fit(model, data, callbacks, *, epochs=1, **options):
    return model.fit(*data, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **options)


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
    assert_equal(arrays(model.trainable_variables), average.arrays())
    assert (
        max(np.abs(array - last).max() for array, last in zip(average.arrays(), recorder.seen[-1], strict=True)) > 1e-3
    )

    alone = ExponentialMovingAverage(decay, every=every)  # no other callback reads the weights after each step
    fit(build(), data, [alone])
    assert_equal(average.arrays(), alone.arrays())


def test_validation_uses_the_averages_and_training_the_weights(data):
    plain = build()
    fit(plain, data, [], epochs=2, validation_data=data)  # on torch, validation draws from the same generator
    model, average = build(), ExponentialMovingAverage(0.9, final="weights")
    history = fit(model, data, [average], epochs=2, validation_data=data).history
    assert_equal(arrays(model.trainable_variables), arrays(plain.trainable_variables))
    for variable, array in zip(model.trainable_variables, average.arrays(), strict=True):
        variable.assign(array)
    np.testing.assert_allclose(model.evaluate(*data, batch_size=4, verbose=0), history["val_loss"][-1], rtol=1e-6)
    assert abs(plain.evaluate(*data, batch_size=4, verbose=0) - history["val_loss"][-1]) > 1e-4


def test_the_state_is_a_copy_a_second_fit_continues_and_another_model_is_refused(data):
    model, average, other = build(), ExponentialMovingAverage(0.5), ExponentialMovingAverage()
    fit(model, data, [average])
    state = average.get_state()
    expected = {name: np.array(value) for name, value in state.items()}
    fit(model, data, [average])
    assert_equal(state.values(), expected.values())
    assert average.updates == 2 * STEPS
    other.set_state(state)
    with pytest.raises(ResumeError, match="The saved averages are of 4 variables, and the model trains 2"):
        fit(build(frozen=["hidden"]), data, [other])


def test_frozen_weights_are_left_out_and_unfreezing_restarts(data):
    model, average = build(frozen=["hidden"]), ExponentialMovingAverage()
    fit(model, data, [average])
    assert [variable.path.split("/")[-2:] for variable in average.variables] == [["head", "kernel"], ["head", "bias"]]
    model.get_layer("hidden").trainable = True
    fit(compiled(model), data, [average])
    assert (average.updates, len(average.arrays())) == (STEPS, 4)


def test_illegal_arguments_are_refused():
    for arguments in ({"decay": 1.0}, {"decay": "a"}, {"every": 0}, {"final": "mean"}):
        with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
            ExponentialMovingAverage(**arguments)


def test_averages_of_bfloat16_weights_are_float32(data):
    model, average = build(dtype="bfloat16"), ExponentialMovingAverage(0.99)
    fit(model, data, [average], validation_data=data)
    assert {str(array.dtype) for array in average.arrays()} == {"float32"}
    for variable, array in zip(model.trainable_variables, average.arrays(), strict=True):
        value = keras.ops.convert_to_numpy(keras.ops.cast(variable.value, "float32"))
        assert keras.backend.standardize_dtype(variable.dtype) == "bfloat16"
        np.testing.assert_allclose(value, array, rtol=2**-8)  # half a unit in the last place of bfloat16
