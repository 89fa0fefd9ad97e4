import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_training_on_two_devices_equals_training_on_one(backend):
    """In a new process, since a process can set up its devices only once."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("several_devices.py"))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found.pop("sgd") < 1e-5, found.pop("adamw") < 1e-5) == (True, True)
    if backend == "tensorflow":
        assert "gradient_accumulation_steps=2 on 2 devices" in found.pop("refused")
    assert not found
