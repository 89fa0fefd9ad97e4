"""Conversions by TensorFlow, without a process for each."""

import json

import keras
import pytest


class _InThisProcess:
    """Stands for the process of a conversion."""

    def __init__(self, module, arguments, *, user_code):
        self._answer = None

    def send(self, request):
        from vit_keras.exporting.conversion import worker

        self._answer = worker.answer(json.loads(json.dumps(request)))

    def receive(self):
        return self._answer, b""

    def kill(self):
        pass


@pytest.fixture
def convert_here(monkeypatch):
    """Conversions run in the process of the tests, whose TensorFlow is imported; `conversion/test_process.py` tests their own process."""
    if (
        keras.backend.backend() != "tensorflow"
    ):  # this process can't convert; on other backends one test converts in a process of its own
        pytest.skip("conversions run in TensorFlow")
    monkeypatch.setattr("vit_keras.exporting.conversion.process.WorkerProcess", _InThisProcess)
    monkeypatch.setattr("vit_keras.exporting.verification._TIMED_S", 0.1)  # seconds, of each file
