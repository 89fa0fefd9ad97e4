"""Processes that are killed or stopped while they hold the lock of a journal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vit_keras.errors import StorageError
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.journal_lock import JournalLock

pytestmark = pytest.mark.any_backend

HOLDS = """
import sys, time
from pathlib import Path
from vit_keras.tuning.study.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.lock.grace = 0.5
with journal.lock:
    journal.read()
    number = sum(record["what"] == "claimed" for record in journal.records)
    print("held", flush=True)
    time.sleep(0.3)  # is stopped or killed here
    print(journal.commit([{"what": "claimed", "trial": number, "by": "first"}]), flush=True)
"""
CLAIMS = """
import sys
from pathlib import Path
from vit_keras.tuning.study.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.lock.grace = 0.01  # so short that locks are taken from processes that are only slow
for count in range(25):
    with journal.lock:
        while True:
            journal.read()
            number = len(journal.records)
            if journal.commit([{"what": "claimed", "trial": number, "by": sys.argv[2]}, {"what": "started", "by": sys.argv[2]}]):
                break
"""


def start(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def claim(path):
    """Claims the next number as another process would, and returns how long that took."""
    journal, began = Journal(path), time.monotonic()
    journal.lock.grace = 0.5
    with journal.lock:
        journal.read()
        assert journal.commit([{"what": "claimed", "trial": len(journal.records), "by": "second"}])
    return time.monotonic() - began


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_owner_blocks_nobody_for_ever_and_loses_its_turn(tmp_path, fatal):
    path = tmp_path / "journal.jsonl"
    owner = start(HOLDS, path)
    with owner.stdout:
        assert owner.stdout.readline() == "held\n"
        owner.send_signal(fatal)
        assert claim(path) >= 0.5
        assert not JournalLock(path.with_name("journal.jsonl.lock")).path.exists()
        if fatal == signal.SIGSTOP:  # it wakes up, and its decision, made on what it had read before, doesn't count
            owner.send_signal(signal.SIGCONT)
            assert owner.stdout.read() == "False\n"
        owner.wait()
    assert [(record["trial"], record["by"]) for record in Journal(path).records] == [(0, "second")]


def test_processes_that_take_the_lock_from_each_other_never_claim_the_same(tmp_path):
    path = tmp_path / "journal.jsonl"
    processes = [start(CLAIMS, path, name) for name in "abcd"]
    for process in processes:
        process.stdout.close()
        assert process.wait() == 0
    records = Journal(path).records
    claimed = [record for record in records if record["what"] == "claimed"]
    assert [record["trial"] for record in claimed] == list(range(0, 200, 2))
    assert {name: sum(record["by"] == name for record in claimed) for name in "abcd"} == dict.fromkeys("abcd", 25)
    assert [record["by"] for record in records[1::2]] == [record["by"] for record in records[::2]]


def test_an_owner_whose_lock_was_taken_leaves_the_new_one_in_place(tmp_path):
    first, second = JournalLock(tmp_path / "lock", grace=0.05), JournalLock(tmp_path / "lock", grace=0.05)
    with first:
        second.__enter__()
    assert second.path.is_file()
    second.__exit__(None, None, None)
    assert not second.path.exists()


def test_a_folder_that_can_t_be_written_is_refused(tmp_path):
    with pytest.raises(StorageError, match="could not be written"), JournalLock(tmp_path / "missing" / "lock"):
        pass
