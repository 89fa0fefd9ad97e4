import json

import keras
import numpy as np
import pytest
from contracts import JIT
from training.weights import assert_equal

from vit_keras.errors import ResumeError
from vit_keras.models.vit import vit
from vit_keras.training.checkpoints.state import get_arrays, get_callback_states, set_arrays, set_callback_states


@pytest.fixture
def compiled(tiny_config):
    def make(**changes):
        model = vit(tiny_config.replace(num_layers=1, dropout_rate=0.1, **changes), num_classes=3)
        model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(True), jit_compile=JIT)
        model.optimizer.build(model.trainable_variables)
        return model

    return make


def test_training_repeats_from_the_saved_arrays_which_are_copies(compiled, rng):
    model = compiled()
    images, labels = rng.integers(0, 256, (4, 16, 16, 3)).astype("uint8"), np.arange(4) % 3
    model.train_on_batch(images, labels)
    saved = get_arrays(model)
    owners = {name.split("/")[0] for name in saved}
    assert owners - {"generator"} == {"model", "optimizer", "metrics"}
    assert any("seed" in name for name in saved)
    before = {name: array.copy() for name, array in saved.items()}
    losses = [float(np.asarray(model.train_on_batch(images, labels))) for _ in range(2)]
    assert_equal(saved.values(), before.values())
    set_arrays(model, saved, where="memory")
    assert [float(np.asarray(model.train_on_batch(images, labels))) for _ in range(2)] == losses


def test_arrays_of_another_model_are_refused_and_change_nothing(compiled):
    model, other = compiled(), compiled(hidden_dim=32)
    before = get_arrays(other)
    with pytest.raises(ResumeError, match=r"checkpoint-7 is of another model .* the first model/0000.* is \("):
        set_arrays(other, get_arrays(model), where="checkpoint-7")
    assert_equal(get_arrays(other).values(), before.values())


class Custom(keras.callbacks.Callback):
    state: dict = {}  # noqa: RUF012

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


def make_callbacks():
    stopping = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    return Custom(), stopping, keras.callbacks.ReduceLROnPlateau()


def test_callback_states_survive_json_with_arrays_infinities_and_none():
    custom, stopping, plateau = callbacks = make_callbacks()
    plain = {"deep": [{"x": 0.5}, None, "word", True], "never": float("inf"), "items": []}
    custom.state = {"a/b": np.arange(3), **plain, "numpy": np.float32(0.5)}
    stopping.wait, stopping.best, stopping.best_weights = 2, 0.25, [np.ones(2), np.zeros((1, 2), "uint32")]
    plateau.best, plateau.cooldown_counter = float("inf"), 4
    arrays, states = get_callback_states(callbacks)
    custom, stopping, plateau = again = make_callbacks()
    set_callback_states(again, arrays, json.loads(json.dumps(states, allow_nan=False)), where="here")
    np.testing.assert_array_equal(custom.state.pop("a/b"), np.arange(3))
    assert custom.state == {**plain, "numpy": 0.5}
    assert (stopping.wait, stopping.best) == (2, 0.25)
    for one, other in zip(stopping.best_weights, callbacks[1].best_weights, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert (plateau.best, plateau.cooldown_counter) == (float("inf"), 4)


def test_other_callbacks_are_refused():
    arrays, states = get_callback_states([Custom()])
    with pytest.raises(ResumeError, match=r"other callbacks: Custom then, EarlyStopping now"):
        set_callback_states([keras.callbacks.EarlyStopping()], arrays, states, where="here")
