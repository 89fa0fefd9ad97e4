"""After an exception or Ctrl-C inside Keras' loops a model has its weights. On JAX Keras takes them out of it."""

import sys

import keras
import numpy as np
import pytest

from vit_keras import vit

ON_JAX = keras.backend.backend() == "jax"
pytestmark = pytest.mark.skipif(not ON_JAX, reason="the other backends never take the weights out")
IMAGES, LABELS = np.full((4, 16, 16, 3), 90.0, "float32"), np.arange(4) % 3  # one shape is compiled


@pytest.fixture(scope="module")
def model(tiny_config):
    keras.utils.set_random_seed(1)
    model = vit(tiny_config, num_classes=3)
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def batches(count, error):
    """Yields equal batches and then raises the error; Keras reads one batch before its loop."""
    for _ in range(count):
        yield IMAGES, LABELS
    raise error


def wrong_shapes(count):
    for size in (16,) * count + (15,):
        yield np.zeros((4, size, size, 3), "float32"), LABELS


def to_numpy(variables):
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def are_equal(ones, others):
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


def check_it_works(model):
    assert np.isfinite(model.predict(IMAGES, verbose=0)).all()
    assert np.isfinite(model.train_on_batch(IMAGES, LABELS)).all()


@pytest.mark.parametrize("loop", ["evaluate", "predict", "fit"])
@pytest.mark.parametrize("error", [ValueError("no more"), KeyboardInterrupt()], ids=["exception", "interrupt"])
def test_weights_are_there_after_an_error_of_the_data(model, loop, error):
    before = to_numpy(model.weights)
    with pytest.raises(type(error)):
        getattr(model, loop)(batches(2, error), verbose=0)
    assert are_equal(to_numpy(model.weights), before) == (loop != "fit")  # whose two steps are kept
    check_it_works(model)


@pytest.mark.parametrize("loop", ["evaluate", "predict", "fit"])
@pytest.mark.parametrize("count", [0, 1])
def test_weights_are_there_after_a_batch_of_a_wrong_shape(model, loop, count):
    before = to_numpy(model.weights)
    with pytest.raises(Exception):  # noqa: B017, PT011 - each backend has its own
        getattr(model, loop)(wrong_shapes(count), verbose=0)
    assert are_equal(to_numpy(model.weights), before) == (loop != "fit" or count == 0)
    check_it_works(model)


class Interrupt:
    """Ctrl-C after a number of Python's instructions inside Keras' loop and this library's methods: signals arrive between two of them."""

    def __init__(self, after):
        self.left = after

    def __enter__(self):
        sys.settrace(self.start)

    def __exit__(self, *error):
        sys.settrace(None)

    def start(self, frame, event, argument):
        if not frame.f_code.co_filename.endswith(("jax/trainer.py", "reliable_loops.py", "keras_model.py")):
            return None
        frame.f_trace_opcodes = True
        return self.count

    def count(self, frame, event, argument):
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.count


@pytest.mark.parametrize("loop", ["evaluate", "predict", "fit", "test_on_batch", "predict_on_batch", "train_on_batch"])
@pytest.mark.parametrize("every", [pytest.param(211, id="some"), pytest.param(3, id="many", marks=pytest.mark.slow)])
def test_weights_are_there_wherever_ctrl_c_comes(model, loop, every):
    whole = loop.endswith("batch")
    given = (IMAGES, LABELS) if whole else (np.concatenate([IMAGES] * 3), np.concatenate([LABELS] * 3))
    options = {} if whole else {"batch_size": 4, "verbose": 0}

    def run():
        getattr(model, loop)(*given[: 1 if loop.startswith("predict") else 2], **options)

    run()
    after, interrupted, trains = 0, True, loop.startswith(("fit", "train"))
    while interrupted:
        after += every
        before = model.predict_on_batch(IMAGES)
        try:
            with Interrupt(after):
                run()
            interrupted = False
        except KeyboardInterrupt:
            pass
        outputs = model.predict_on_batch(IMAGES)
        assert np.isfinite(outputs).all()
        assert trains or (outputs == before).all()
        assert all(np.isfinite(value).all() for value in to_numpy(model.optimizer.variables))
    assert after > 500
