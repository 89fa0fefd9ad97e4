"""The same run on one device, on several, and in several processes; how the processes end together.

Each process is a fresh one: JAX joins others only before it is used.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from vit_keras.distributed.launch import local_environments

SCRIPT = Path(__file__).with_name("train_once.py")
SECONDS = 500  # of all processes of a case, which are killed then

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="several processes, and several devices of a CPU, are JAX'"
    ),
    pytest.mark.slow,
]


def train(folder, name, *words, processes=1):
    """Runs the script and returns its exit codes, what it printed, and its arrays, if it came to its end."""
    command = [sys.executable, str(SCRIPT), str(folder / "run"), str(folder / f"{name}.npz"), *words]
    environments = local_environments(processes) if processes > 1 else [dict(os.environ)]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for environment in environments
    ]
    try:
        outputs = [process.communicate(timeout=SECONDS)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    arrays = dict(np.load(folder / f"{name}.npz")) if (folder / f"{name}.npz").is_file() else None
    return [process.returncode for process in started], "\n".join(outputs), arrays


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run on one device."""
    codes, text, arrays = train(tmp_path_factory.mktemp("one"), "one")
    assert codes == [0], text
    return arrays


def assert_same(arrays, reference):
    np.testing.assert_allclose(arrays["losses"], reference["losses"], rtol=1e-5)
    np.testing.assert_allclose(arrays["validation"], reference["validation"], rtol=1e-5)
    np.testing.assert_allclose(arrays["accuracy"], reference["accuracy"], rtol=1e-5)
    np.testing.assert_allclose(arrays["weights"], reference["weights"], atol=1e-4)
    assert len(arrays["losses"]) == 20


@pytest.mark.parametrize(("devices", "processes"), [(4, 1), (2, 2)])
def test_devices_and_processes_give_the_result_of_one(reference, tmp_path, devices, processes):
    codes, text, arrays = train(tmp_path, "many", f"virtual={devices}", processes=processes)
    assert codes == [0] * processes, text
    assert arrays["devices"] == devices * processes
    of_data, of_processes, whole = arrays["waiting"].T
    assert len(whole) == processes
    assert ((of_data > 0) & (of_data < whole)).all()
    assert (of_processes.max() > 0) == (processes > 1)
    assert_same(arrays, reference)


def test_a_process_that_is_killed_ends_the_others_and_the_launch_resumes(reference, tmp_path):
    codes, text, _ = train(tmp_path, "killed", "trouble=9:8:1", processes=2)
    assert codes == [75, -9], text
    codes, text, arrays = train(tmp_path, "resumed", "resume=true", processes=2)
    assert codes == [0, 0], text
    np.testing.assert_allclose(arrays["weights"], reference["weights"], atol=1e-4)


def test_sigterm_of_one_process_stops_all_at_one_step(reference, tmp_path):
    codes, text, _ = train(tmp_path, "stopped", "trouble=15:8:1", processes=2)
    assert text.count("TrainingInterrupted") >= 2, text
    codes, text, arrays = train(tmp_path, "resumed", "resume=true", "virtual=2")
    assert codes == [0], text
    np.testing.assert_allclose(arrays["weights"], reference["weights"], atol=1e-4)


def test_a_full_disk_of_the_chief_ends_all_with_its_error_and_the_last_checkpoint_stays(reference, tmp_path):
    codes, text, _ = train(tmp_path, "full", "trouble=full:8:0", processes=2)
    assert codes == [1, 1], text
    errors = re.findall(r"StorageError: (Process 0 on .*could not be written .*No space left on device.*)", text)
    assert len(errors) == 2
    assert errors[0] == errors[1]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000005"]
    codes, text, arrays = train(tmp_path, "resumed", "resume=true")
    assert codes == [0], text
    np.testing.assert_allclose(arrays["weights"], reference["weights"], atol=1e-4)


def test_stop_training_of_one_process_ends_all(tmp_path):
    codes, text, arrays = train(tmp_path, "ended", "trouble=stop:7:1", processes=2)
    assert codes == [0, 0], text
    # Process 1 asks after step 8 at the latest. The chief may have ended step 9 by then, does not look at step 10, an epoch's last, and
    # names the step two after the 11th.
    assert 7 <= len(arrays["losses"]) <= 13
