import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.any_backend, pytest.mark.slow]  # in a process of its own, on TensorFlow


def test_pretraining_on_two_devices_has_the_losses_of_one_or_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("several_devices.py")), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for method in ("mae", "distill"):
        assert (found[f"{method}: devices 1"], found[f"{method}: devices 2"]) == (1, 2)
        np.testing.assert_allclose(*found[f"{method}: losses"], rtol=1e-5)
        np.testing.assert_allclose(*found[f"{method}: validation"], rtol=1e-5)
        assert found[f"{method}: weights"] < 1e-4
    assert "lejepa" in found["refused"]
    assert "KERAS_BACKEND=jax" in found["refused"]
    assert not (tmp_path / "lejepa").exists()
