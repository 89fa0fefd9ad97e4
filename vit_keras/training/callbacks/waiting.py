"""`WaitClock`: how long a training waits, for its batches and for other processes."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from vit_keras.distributed.cluster import seconds_waited
from vit_keras.distributed.devices import devices_in_use
from vit_keras.runtime.tensorflow_host import as_operations

if TYPE_CHECKING:
    import tensorflow as tf


class WaitClock:
    """Seconds that this process waited while it trained, and how long it trained in all.

    "data" is the time in which the training loop waited for its next batch. A device may have computed the step before in the meantime,
    so that it stood still for at most that long. It is not measured where several devices of TensorFlow share a batch, since these read
    ahead of the loop. "processes" is the time in which this process waited for others where they meet: at the ends of epochs, when a
    checkpoint is saved, and when all stop. Inside a step they wait for each other in the exchange of gradients, which is a part of the step
    and is not measured, so that no step waits for a measurement. "training" is all the time from the first step to the last, with compiling,
    validation and saving.
    """

    def __init__(self) -> None:
        self._data: tf.Variable | None = None  # seconds
        self._earlier: dict[str, float] = {}
        self._start, self._met = time.monotonic(), seconds_waited()

    def seconds(self) -> dict[str, float]:
        """Returns the seconds by name, those that were restored included."""
        now = {"processes": seconds_waited() - self._met, "training": time.monotonic() - self._start}
        if not _reads_ahead():
            now["data"] = 0.0 if self._data is None else float(self._data.numpy())
        return {name: round(value + self._earlier.get(name, 0.0), 3) for name, value in sorted(now.items())}

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Adds the seconds of the same process before the run was interrupted."""
        self._earlier = dict(seconds)

    def measure(self, batches: "tf.data.Dataset") -> "tf.data.Dataset":
        """Returns the same batches, which add the time between the request for each and its arrival."""
        import tensorflow as tf

        if _reads_ahead():
            return batches
        if self._data is None:
            with tf.device("CPU:0"):
                self._data = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        seconds: Any = self._data

        def arrive(asked: "tf.Tensor", batch: "tf.Tensor") -> "tf.Tensor":
            with tf.control_dependencies([seconds.assign_add(_read_clock() - asked)]):
                return tf.nest.map_structure(tf.identity, batch)

        asked = tf.data.Dataset.counter().map(as_operations(lambda _: _read_clock()))
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # which would ask for a batch before the loop does
        pairs = tf.data.Dataset.zip((asked, batches))  # asks the clock first
        return pairs.map(as_operations(arrive)).with_options(options)


def _read_clock() -> "tf.Tensor":
    """Returns the seconds of a clock, float64, by an operation: a call of Python would double what measuring a batch costs."""
    import tensorflow as tf

    return tf.timestamp()


def _reads_ahead() -> bool:
    return keras.backend.backend() == "tensorflow" and devices_in_use().count > 1
