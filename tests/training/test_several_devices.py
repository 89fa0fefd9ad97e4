import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_as_one(backend):
    """In a process of its own: devices are made once a process."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("several_devices.py"))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    assert set(differences) == {"sgd", "adamw"}
    assert max(differences.values()) < 1e-5
