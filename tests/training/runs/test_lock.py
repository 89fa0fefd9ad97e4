import errno
import json
import os
import re
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import vit_keras
from vit_keras.errors import RunLockedError, StorageError
from vit_keras.training.runs.lock import RunLock

pytestmark = pytest.mark.any_backend

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and links")
CHILD = """
import sys
from pathlib import Path
from vit_keras.errors import RunLockedError
from vit_keras.training.runs.lock import RunLock
print("ready", flush=True)
sys.stdin.readline()
try:
    with RunLock(Path(sys.argv[1])):
        print("works", flush=True)
        sys.stdin.readline()
except RunLockedError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def start(path: Path) -> "subprocess.Popen[str]":
    """Starts a process that takes the lock at the first line of input and ends at the second."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(vit_keras.__file__).parents[1])},
    )
    assert process.stdout.readline() == "ready\n"
    return process


def tell(process: "subprocess.Popen[str]") -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def description(path: Path) -> dict[str, object]:
    return json.loads((path / ".lock").read_text())


def assert_refused(path, message):
    with pytest.raises(RunLockedError, match=message), RunLock(path):
        pass


def assert_free(path):
    with RunLock(path):
        assert description(path)["pid"] == os.getpid()


def test_of_two_processes_one_takes_the_lock_until_it_is_killed_and_the_other_names_it(tmp_path):
    both = [start(tmp_path) for _ in range(2)]
    for process in both:
        tell(process)
    answers = [process.stdout.readline() for process in both]
    winner = answers.index("works\n")
    owner = description(tmp_path)
    assert owner["pid"] == both[winner].pid
    assert_refused(tmp_path, f"is in use by process {owner['pid']} on ")
    loser = both[1 - winner]
    loser.communicate()
    assert loser.returncode == 6
    assert str(tmp_path) in answers[1 - winner]
    both[winner].kill()
    both[winner].communicate()
    assert description(tmp_path) == owner
    assert_free(tmp_path)


def test_the_error_names_process_host_and_time(tmp_path):
    with RunLock(tmp_path):
        owner = description(tmp_path)
        place = f"{tmp_path} is in use by process {os.getpid()} on {socket.gethostname()} since {owner['since']}"
        assert_refused(tmp_path, f"^{re.escape(place)}: wait until it.*use another run directory")
        assert abs((datetime.now().astimezone() - datetime.fromisoformat(owner["since"])).total_seconds()) < 60
    assert (tmp_path / ".lock").read_bytes() == b""
    assert os.listdir(tmp_path) == [".lock"]


def test_a_stale_or_damaged_description_is_ignored(tmp_path):
    stale = {"pid": os.getppid(), "host": socket.gethostname(), "since": "2026-01-01T00:00:00+00:00"}
    (tmp_path / ".lock").write_text(json.dumps(stale))
    assert_free(tmp_path)
    for torn in (b"", b"{", b"\xff", b"[1]", b'{"pid": 1}', b"x" * 10_000, b"[" * 4096):
        (tmp_path / ".lock").write_bytes(torn)
        with RunLock(tmp_path):
            (tmp_path / ".lock").write_bytes(torn)
            assert_refused(tmp_path, "in use by another process, just now: wait")
        assert (tmp_path / ".lock").read_bytes() == b""


@posix
def test_processes_that_share_a_directory_keep_out_those_that_need_it_alone(tmp_path):
    with RunLock(tmp_path, shared=True):
        with RunLock(tmp_path, shared=True):
            assert_refused(tmp_path, f"in use by process {os.getpid()} on ")
        assert_refused(tmp_path, "in use by another process")
    with RunLock(tmp_path), pytest.raises(RunLockedError, match="in use"), RunLock(tmp_path, shared=True):
        pass


@posix
def test_an_error_in_the_block_and_a_full_disk_release_the_lock(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        _ = 1 / 0
    assert_free(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(StorageError, match="could not be written"), RunLock(tmp_path):
            pass
    assert_free(tmp_path)


@posix
def test_a_child_process_with_the_file_open_does_not_hold_the_lock(tmp_path):
    with RunLock(tmp_path) as lock:
        passed = (lock._file,)  # as after a fork
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=passed)
    assert_free(tmp_path)
    assert child.poll() is None
    child.communicate(b"\n")


@posix
def test_without_locks_the_description_decides(tmp_path, monkeypatch):
    import fcntl

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = socket.gethostname()
    for pid, host in ((os.getppid(), here), (1, f"not-{here}"), (dead.pid, here), ("x", here)):
        (tmp_path / ".lock").write_text(json.dumps({"pid": pid, "host": host, "since": "then"}))
        if pid in (os.getppid(), 1):
            assert_refused(tmp_path, f"process {pid} on {host} since then: .* if that process has ended, remove ")
        else:
            assert_free(tmp_path)


@posix
def test_a_missing_directory_is_named_and_a_link_is_not_followed(tmp_path):
    with pytest.raises(StorageError, match="missing: the run cannot be locked"), RunLock(tmp_path / "missing"):
        pass
    assert not (tmp_path / "missing").exists()
    (tmp_path / "other").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(StorageError, match="cannot be locked"), RunLock(tmp_path):
        pass
    assert (tmp_path / "other").read_text() == "mine"
