import keras
import numpy as np
import pytest

from vit_keras.errors import EmptyDatasetError, InvalidArgumentError, TrainingDivergedError
from vit_keras.training.checkpoints.state import get_arrays
from vit_keras.training.learning_rate_range import LearningRateRange, learning_rate_range
from vit_keras.training.optim.optimizers import AdamW
from vit_keras.training.optim.schedules import warmup_cosine

JIT = "auto" if keras.backend.backend() == "jax" else False


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (5, 8))
    return [(np.eye(3)[row] * 3 + rng.normal(size=(8, 3)), row) for row in labels]


def compiled(optimizer, **options):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(3)], name="small")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=JIT, **options)
    return model


def test_everything_is_as_before_and_training_goes_on_as_if_nothing_had_been(batches):
    model, other = (compiled(keras.optimizers.Adam(warmup_cosine(0.1, steps=50, warmup_steps=5))) for _ in range(2))
    for trained in (model, other):
        keras.utils.set_random_seed(1)
        trained.fit(*batches[0], batch_size=8, epochs=2, shuffle=False, verbose=0)
    optimizer, function, before = model.optimizer, model.train_function, get_arrays(model)
    found = learning_rate_range(model, batches, lowest=1e-4, highest=1e4, steps=30)
    assert 5 < len(found.learning_rates) < 30  # ended by a loss that broke, after it had gone through the batches again
    assert model.optimizer is optimizer
    assert model.train_function is function
    after = get_arrays(model)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    assert optimizer.iterations == 2
    for trained in (model, other):
        keras.utils.set_random_seed(1)
        trained.fit(*batches[1], batch_size=8, shuffle=False, verbose=0)
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_suggestion_learns_and_neither_crawls_nor_breaks(batches):
    model = compiled(keras.optimizers.SGD(0.5))
    found = learning_rate_range(model, batches, lowest=1e-5, highest=1e3, steps=80)
    assert found.learning_rates[0] == pytest.approx(1e-5)
    assert found.learning_rates[1] / found.learning_rates[0] == pytest.approx(10 ** (8 / 79))
    assert min(found.losses) < 0.8 * found.losses[0]
    assert 1e-3 < found.suggestion < 1
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    losses = {}
    for rate in (1e-5, found.suggestion, 1e3):
        trained = compiled(keras.optimizers.SGD(rate))
        losses[rate] = trained.fit(x, y, batch_size=8, epochs=4, verbose=0).history["loss"][-1]
    assert min(losses, key=losses.get) == found.suggestion


def test_smoothing_is_symmetric_and_the_middle_of_the_fall_is_found():
    steps = 101
    places = np.arange(steps)
    fall = 2 - 1 / (1 + np.exp(-(places - 50) / 4)) + 5 * np.exp((places - 100) / 4)
    found = LearningRateRange(
        learning_rates=tuple(np.geomspace(1e-6, 1, steps).tolist()), raw_losses=tuple(fall.tolist()), steps=steps
    )
    assert found.suggestion == pytest.approx(1e-3, rel=0.2)
    flat = LearningRateRange(learning_rates=(0.1, 0.2, 0.3), raw_losses=(1.0, 1.5, 2.0), steps=100)
    assert flat.suggestion is None
    np.testing.assert_allclose(flat.losses, 1.5, atol=0.03)  # three of a hundred are all near each other


def test_gradient_accumulation_takes_as_many_batches_a_step():
    taken = []

    class Batches:
        def __iter__(self):
            for index in range(100):
                taken.append(index)
                yield np.ones((2, 3)), np.zeros(2)

    model = compiled(AdamW(1e-3, gradient_accumulation_steps=3))
    found = learning_rate_range(model, Batches(), lowest=1e-6, highest=1e-5, steps=4)
    assert len(found.learning_rates) == 4
    assert len(taken) == 12


def test_what_can_not_be_tested_is_refused(batches):
    model = compiled("sgd")
    with pytest.raises(EmptyDatasetError):
        learning_rate_range(model, [])
    with pytest.raises(EmptyDatasetError, match="gone through again"):
        learning_rate_range(model, iter(batches), lowest=1e-6, highest=1e-5, steps=10)
    for arguments in ({"lowest": 0.0}, {"lowest": 2.0}, {"steps": 1}, {"highest": float("nan")}):
        with pytest.raises(InvalidArgumentError):
            learning_rate_range(model, batches, **arguments)
    with pytest.raises(InvalidArgumentError, match="not compiled"):
        learning_rate_range(keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)]), batches)
    model.layers[-1].set_weights([np.full((8, 3), np.nan), np.zeros(3)])
    with pytest.raises(TrainingDivergedError, match="before it was trained"):
        learning_rate_range(model, batches)
    assert np.isnan(model.layers[-1].get_weights()[0]).all()
