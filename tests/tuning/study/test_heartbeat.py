import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vit_keras.errors import StorageError
from vit_keras.tuning.study import heartbeat
from vit_keras.tuning.study.heartbeat import DEAD, Heartbeat, Lease, Watch, beat_path

pytestmark = pytest.mark.any_backend


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(heartbeat, "awake_or_asleep_seconds", lambda: now[0])
    return now


def beat(path, count, **fields):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"beats": count, "seconds": 10.0 * count, **fields}))


def test_a_process_is_silent_only_while_this_one_looks_and_alive_once_its_file_changes(tmp_path, clock):
    watch, path = Watch(tmp_path), beat_path(tmp_path, "other")
    beat(path, 1)
    assert watch.silence("other") == 0
    clock[0] += 5
    assert watch.silence("other") == 5
    clock[0] += 3600  # this process was stopped, or the machine asleep
    assert watch.silence("other") == 5 + 2 * heartbeat.BEAT_SECONDS
    assert not watch.has_changed("other")
    beat(path, 2)
    assert watch.silence("other") == 0
    assert watch.has_changed("other")
    assert watch.running_seconds("other") == 20
    path.unlink()
    watch.silence("other")
    clock[0] += 7
    assert watch.silence("other") == 7
    assert watch.running_seconds("other") == 0


def test_the_file_lives_as_long_as_the_process_and_a_killed_one_is_noticed_at_once(tmp_path):
    path = beat_path(tmp_path / "workers", "own")
    with Heartbeat(path, seconds=lambda: 12.5, on_beat=lambda gap: None) as own:
        watch = Watch(tmp_path / "workers")
        assert watch.silence("own") == 0
        own.beat()
        assert watch.silence("own") == 0
        assert watch.has_changed("own")
        assert watch.running_seconds("own") == 12.5
    assert not path.exists()
    code = (
        "import os, sys; from pathlib import Path; from vit_keras.tuning.study.heartbeat import Heartbeat\n"
        "Heartbeat(Path(sys.argv[1]), seconds=lambda: 1.0, on_beat=lambda gap: None).__enter__(); os._exit(1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", code, path], env=environment, check=False)
    assert Watch(path.parent).silence("own") == DEAD
    fields = json.loads(path.read_text())
    for change in ({"kernel": "another machine"}, {"locked": False}):
        path.write_text(json.dumps({**fields, **change}))
        assert Watch(path.parent).silence("own") == 0


def test_a_beat_says_how_late_it_is_and_goes_on_after_an_error(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    gaps = []

    def on_beat(gap):
        gaps.append(gap)
        clock[0] += 1
        if len(gaps) == 2:
            raise StorageError("the folder is gone")

    with Heartbeat(tmp_path / "own.alive", seconds=lambda: 0.0, on_beat=on_beat):
        while len(gaps) < 4:
            time.sleep(0.01)
    assert gaps[0] == 0
    assert gaps[2] >= heartbeat.LEASE_SECONDS  # as if it had slept
    assert gaps[3] < heartbeat.LEASE_SECONDS


def test_a_process_that_trains_for_another_notices_that_it_is_silent(tmp_path, clock):
    path = tmp_path / "own.alive"
    beat(path, 1)
    lease = Lease(path)
    clock[0] += 31
    assert lease.silence() == 31
    beat(path, 2)
    assert lease.silence() == 31  # it looks once a second
    clock[0] += 1
    assert lease.silence() == 0
