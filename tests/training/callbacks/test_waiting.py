"""How long a training waits, by a clock that only the test moves."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from vit_keras.distributed.devices import Devices
from vit_keras.training.callbacks import waiting
from vit_keras.training.callbacks.waiting import WaitClock

pytestmark = pytest.mark.any_backend


@pytest.fixture
def now(monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: 7 + moment[0]))
    monkeypatch.setattr(
        waiting, "_read_clock", lambda: tf.numpy_function(lambda: np.float64(moment[0]), [], tf.float64)
    )
    return moment


def batches_that_take(seconds, now, count=4):
    def read(number):
        now[0] += seconds
        return number

    return tf.data.Dataset.range(count).map(lambda number: (tf.numpy_function(read, [number], tf.int64), -number))


def test_the_time_between_request_and_arrival_is_counted_and_not_that_of_the_step(now):
    clock = WaitClock()
    measured = clock.measure(batches_that_take(3.0, now))
    assert measured.cardinality() == 4
    seen = []
    for images, labels in measured:
        now[0] += 10.0  # a step
        seen.append((int(images), int(labels)))
    assert seen == [(0, 0), (1, -1), (2, -2), (3, -3)]
    assert clock.seconds() == {"data": 12.0, "processes": 0.0, "training": 52.0}


def test_the_seconds_before_an_interruption_count(now):
    clock = WaitClock()
    clock.restore({"data": 5.0, "processes": 2.0, "training": 60.0})
    now[0] += 1.0
    assert clock.seconds() == {"data": 5.0, "processes": 2.0, "training": 61.0}
    clock.restore({})  # of an earlier version
    assert clock.seconds() == {"data": 0.0, "processes": 0.0, "training": 1.0}


def test_a_strategy_of_tensorflow_reads_ahead_and_is_not_measured(now, monkeypatch):
    monkeypatch.setattr(waiting.keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(waiting, "devices_in_use", lambda: Devices(names=("gpu:0", "gpu:1"), distribution="data"))
    clock, batches = WaitClock(), batches_that_take(3.0, now)
    assert clock.measure(batches) is batches
    assert "data" not in clock.seconds()
    np.testing.assert_array_equal([number for number, _ in batches.as_numpy_iterator()], range(4))
