"""Processes that search together, started and ended as users do it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tuning.hypermodels import Tiny, images

from vit_keras.errors import InvalidArgumentError, ResumeError, StorageError
from vit_keras.tuning import ViTTuner, join
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.run_directory import JOURNAL
from vit_keras.tuning.study.study import Study

# Short leases, so that a lost process is noticed within a test; a process that watches is told that it can't see the others' locks.
START = """
import sys
from tuning.hypermodels import Patient, images
from vit_keras.tuning import TunerOptions, coordinator, join, search
from vit_keras.tuning.study import heartbeat
what, run, budget = sys.argv[1:]
coordinator.LEASE_SECONDS, heartbeat.BEAT_SECONDS = 12.0, 1.0
heartbeat._is_dead = lambda path, content: False
if what == "search":
    options = TunerOptions(epochs=2, factor=2)
    search(images(), hypermodel=Patient(num_layers=[1], num_heads=[2]), run_dir=run, budget=budget, options=options)
else:
    join(run, images(), hypermodel=Patient(num_layers=[1], num_heads=[2]))
"""
PATHS = os.pathsep.join(map(str, Path(__file__).parents[1:3]))


@pytest.fixture
def start(tmp_path):
    """Returns a function that starts a process that searches, or joins the search."""
    started = []

    def begin(what, budget=""):
        command = [sys.executable, "-c", START, what, str(tmp_path / "run"), budget]
        environment = {**os.environ, "PYTHONPATH": PATHS, "GO": str(tmp_path / "go")}
        started.append(
            subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def read(run):
    return Study([Objective("val_accuracy", "max")], epochs=2, records=Journal(run / JOURNAL).records)


def wait_until(run, condition):
    until = time.monotonic() + 600
    while not ((run / JOURNAL).is_file() and condition(read(run))):
        assert time.monotonic() < until
        time.sleep(0.1)


def assert_ends_well(run, process, *, count):
    assert process.wait(timeout=600) == 0, process.communicate()[1]
    study = read(run)
    assert len(study.trials) == count
    assert {trial.state for trial in study.trials} == {"COMPLETED", "PRUNED"}
    assert json.loads((run / "search.json").read_text())["best"]["trial"] == study.best.number
    assert (run / "model" / "model.safetensors").is_file()
    return study


@pytest.mark.slow
def test_killed_stopped_and_interrupted_processes_leave_the_search_to_the_others(start, tmp_path):
    run, go = tmp_path / "run", tmp_path / "go"
    first = start("search", "8 trials")
    wait_until(run, lambda study: study.running)
    second, third = start("join"), start("join")
    wait_until(run, lambda study: len(study.running) == 3)
    names = list(read(run).participants)

    # One is killed and one stands still: the third takes their trials.
    first.send_signal(signal.SIGKILL)
    second.send_signal(signal.SIGSTOP)
    wait_until(run, lambda study: sum(each.lost for each in study.participants.values()) == 2)
    assert read(run).participants[names[0]].lost
    go.touch()
    wait_until(run, lambda study: sum(len(trial.workers) > 1 for trial in study.trials) == 2)
    go.unlink()

    # The one that stood still wakes up, takes another trial, and is the last when the third is interrupted.
    second.send_signal(signal.SIGCONT)
    wait_until(run, lambda study: len(study.running) == 2)
    third.send_signal(signal.SIGINT)
    go.touch()
    assert third.wait(timeout=600) != 0
    assert "TrainingInterrupted" in third.communicate()[1]
    study = assert_ends_well(run, second, count=8)

    assert study.participants[names[0]].lost
    seen = Study([Objective("val_accuracy", "max")], epochs=2)
    for record in Journal(run / JOURNAL).records:
        if record["what"] == "started":
            assert seen.trials[record["trial"]].state != "RUNNING"  # no trial is trained twice at once
        seen.add(record)
    assert len({json.dumps(trial.values) for trial in study.trials}) == 8
    page, table = (run / "study.html").read_text(), (run / "study.csv").read_text()
    assert all(name in page for name in names)
    assert "Who trained what" in page
    assert f"{names[0]}-0" in table


@pytest.mark.slow
def test_another_machine_joins_by_the_command_line_and_other_data_are_refused(tmp_path, run):
    directory = tmp_path / "run"
    (tmp_path / "space.json").write_text(json.dumps({**SPACE, "learning_rate": [1e-3, 3e-3]}))
    options = ("--limit", 96, "--space", tmp_path / "space.json", "--epochs", 1, "--budget", "2 trials")
    code, _, err = run("tune", "emoji", *options, "--run-dir", directory)
    assert code == 0, err
    (tmp_path / "space.json").unlink()  # it is in the journal
    code, out, err = run("tune", "--join", directory)
    assert (code, err) == (0, err)
    assert "best               trial" in out
    assert len(read(directory).participants) == 2
    code, _, err = run("tune", "digits", "--join", directory)
    assert (code, "data:" in err.replace("\\n", "")) == (2, True), err


SPACE = {
    "num_layers": 1, "num_heads": 1, "head_dim": 8, "mlp_ratio": 2, "patch_size": 8, "stem": "patch", "pooling": "mean",
    "num_registers": 0, "stochastic_depth_rate": 0.0, "weight_decay": 0.1, "augmentation": "none", "batch_size": 32,
}  # fmt: skip


@pytest.fixture
def begun(tmp_path):
    """The journal of a search that a Python program began."""
    tuner = ViTTuner(Tiny(), run_dir=tmp_path / "run", budget="6 trials")
    tuner._check_objectives_are_logged = lambda worker: None
    tuner._open(images(), None)
    return tuner.run_dir


def test_what_cannot_be_joined_is_refused_with_the_reason(begun, tmp_path):
    with pytest.raises(StorageError, match="holds no search to join"):
        join(tmp_path / "nothing")
    with pytest.raises(InvalidArgumentError, match="pass the same data"):
        join(begun)
    with pytest.raises(InvalidArgumentError, match="started with a Tiny: pass the same hypermodel"):
        join(begun, images())
    with pytest.raises(ResumeError, match=r"space: .* then, .* now"):
        join(begun, images(), hypermodel=Tiny(num_layers=[1]))
    with pytest.raises(ResumeError, match=r'data: "[0-9a-f]+" then, "[0-9a-f]+" now'):
        join(begun, images().limit(48), hypermodel=Tiny())
    assert [record["what"] for record in Journal(begun / JOURNAL).records] == ["study"]


def test_keras_tuner_s_chief_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(InvalidArgumentError, match=r"KERASTUNER_ORACLE_IP is set: unset it.*vk\.tuning\.join"):
        ViTTuner(Tiny(), run_dir=tmp_path / "run")
