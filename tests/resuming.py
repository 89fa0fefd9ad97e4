"""What tests of resumed runs share: a callback that interrupts training, and the mark of a backend that is not exact."""

import os
import signal

import keras
import pytest

bit_for_bit = pytest.mark.xfail(
    keras.backend.backend() == "torch", reason="torch is not deterministic bit for bit", strict=False
)


class StopAt(keras.callbacks.Callback):
    """Sends SIGTERM in the middle of a step."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.seen = steps, 0

    def get_state(self):
        return {"seen": self.seen}

    def set_state(self, state):
        self.seen = state["seen"]

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen in self.steps:
            os.kill(os.getpid(), signal.SIGTERM)
