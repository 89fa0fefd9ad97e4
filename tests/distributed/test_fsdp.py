import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_backend  # in processes of their own


def run_script(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 8])
def test_divided_weights_train_and_work_as_those_of_one_device(count):
    found = run_script("sharded_model.py", count)
    assert found.pop("devices") == count
    for name in ("wrong_layout", "average_layout", "saving"):
        assert found.pop(name) == [], name
    whole, part = found.pop("bytes")
    assert part < whole * (1 / count + 0.1)
    assert found.pop("losses") < 1e-6
    assert all(value < 2e-5 for value in found.values()), found
