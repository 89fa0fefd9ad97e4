import json

import keras
import numpy as np
import pytest

from vit_keras.errors import ResumeError
from vit_keras.models.vit import vit
from vit_keras.training.checkpoints.state import arrays_of, assign, callbacks_state, set_callbacks_state

JIT = "auto" if keras.backend.backend() == "jax" else False


@pytest.fixture
def compiled(tiny_config):
    def make(**changes):
        model = vit(tiny_config.replace(num_layers=1, dropout_rate=0.1, **changes), num_classes=3)
        model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(True), jit_compile=JIT)
        model.optimizer.build(model.trainable_variables)
        return model

    return make


def test_everything_comes_back_and_the_copies_are_our_own(compiled, rng):
    model = compiled()
    images, labels = rng.integers(0, 256, (4, 16, 16, 3)).astype("uint8"), np.arange(4) % 3
    model.train_on_batch(images, labels)
    kept = arrays_of(model)
    owners = {name.split("/")[0] for name in kept}
    assert owners - {"generator"} == {"model", "optimizer", "metrics"}
    assert any("seed" in name for name in kept)
    before = {name: array.copy() for name, array in kept.items()}
    losses = [float(np.asarray(model.train_on_batch(images, labels))) for _ in range(2)]
    for name, array in kept.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assign(model, kept, where="memory")
    assert [float(np.asarray(model.train_on_batch(images, labels))) for _ in range(2)] == losses


def test_arrays_of_another_model_are_refused_and_change_nothing(compiled):
    model, other = compiled(), compiled(hidden_dim=32)
    before = arrays_of(other)
    with pytest.raises(
        ResumeError, match=r"checkpoint-7 is of another model .* differences, the first model/0000.* is \("
    ):
        assign(other, arrays_of(model), where="checkpoint-7")
    for name, array in arrays_of(other).items():
        np.testing.assert_array_equal(array, before[name])


class Own(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def get_state(self):
        return self.seen

    def set_state(self, state):
        self.seen = state


def test_callbacks_come_back_through_json_with_arrays_infinities_and_nothing():
    first = [
        Own(),
        keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(),
    ]
    first[0].seen = {
        "a/b": np.arange(3),
        "deep": [{"x": np.float32(0.5)}, None, "word", True],
        "never": float("inf"),
        "items": [],
    }
    first[1].wait, first[1].best, first[1].best_weights = 2, 0.25, [np.ones(2), np.zeros((1, 2), "uint32")]
    first[2].best, first[2].cooldown_counter = float("inf"), 4
    arrays, states = callbacks_state(first)
    again = [
        Own(),
        keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(),
    ]
    set_callbacks_state(again, arrays, json.loads(json.dumps(states, allow_nan=False)), where="here")
    np.testing.assert_array_equal(again[0].seen.pop("a/b"), np.arange(3))
    assert again[0].seen == {"deep": [{"x": 0.5}, None, "word", True], "never": float("inf"), "items": []}
    assert (again[1].wait, again[1].best) == (2, 0.25)
    for one, other in zip(again[1].best_weights, first[1].best_weights, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert (again[2].best, again[2].cooldown_counter) == (float("inf"), 4)


def test_other_callbacks_are_refused():
    arrays, states = callbacks_state([Own()])
    with pytest.raises(ResumeError, match=r"other callbacks: \['Own'\] then, \['EarlyStopping'\] now"):
        set_callbacks_state([keras.callbacks.EarlyStopping()], arrays, states, where="here")
