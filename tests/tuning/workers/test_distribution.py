import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.run_directory import JOURNAL
from vit_keras.tuning.study.study import Study
from vit_keras.tuning.workers.distribution import set_role

# Short leases, so that a lost worker is noticed within a test.
SCRIPT = """
import sys
from tuning.hypermodels import Tiny, images
from vit_keras.tuning import TunerOptions, ViTTuner
from vit_keras.tuning.workers import distribution
role, address, run, budget = sys.argv[1:]
distribution.LEASE_SECONDS, distribution._HEARTBEAT_SECONDS, distribution._WAIT_SECONDS = 5.0, 1.0, 20.0
distribution.set_role(role, address)
ViTTuner(Tiny(), run_dir=run, budget=budget, options=TunerOptions(epochs=2, factor=2)).search(images())
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, Path(__file__).parents[2:4])))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    started = []

    def begin(role, budget="6 trials"):
        command = [sys.executable, "-c", SCRIPT, role, address, str(tmp_path / "run"), budget]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def study_of(run):
    return Study([Objective("val_accuracy", "max")], epochs=2, records=Journal(run / JOURNAL).records)


def assert_all_end(run, *processes):
    for process in processes:
        assert process.wait(timeout=150) == 0, process.communicate()[1]
    trials = study_of(run).trials
    assert len(trials) == 6
    assert {trial.state for trial in trials} <= {"COMPLETED", "PRUNED"}


@pytest.mark.slow
def test_a_chief_and_two_workers_search_together_and_all_end(start, tmp_path):
    chief, workers = start("chief"), [start("worker"), start("worker")]
    assert_all_end(tmp_path / "run", *workers, chief)
    records = Journal(tmp_path / "run" / JOURNAL).records
    assert len({record["worker"] for record in records if record["what"] == "started"}) == 2


@pytest.mark.slow
def test_a_killed_worker_s_trial_is_given_to_another_and_the_chief_ends(start, tmp_path):
    chief, doomed = start("chief"), start("worker")
    run = tmp_path / "run"
    until = time.monotonic() + 60
    while time.monotonic() < until and not any(trial.state == "RUNNING" for trial in study_of(run).trials):
        time.sleep(0.1)
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    assert_all_end(run, start("worker"), chief)


@pytest.mark.slow
def test_a_worker_without_a_chief_says_so_and_ends(start):
    worker = start("worker")
    assert worker.wait(timeout=100) != 0
    assert "No chief answered at 127.0.0.1" in worker.communicate()[1]


@pytest.mark.parametrize(("role", "address"), [("boss", "a:1"), ("chief", "localhost"), ("worker", ":8000")])
def test_another_role_or_address_is_refused(role, address):
    with pytest.raises(InvalidArgumentError, match="HOST:PORT"):
        set_role(role, address)
