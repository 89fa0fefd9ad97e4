import os
import signal
import subprocess
import sys
import time

import pytest

from vit_keras.runtime.worker_process import WorkerDiedError, WorkerProcess

pytestmark = pytest.mark.any_backend

WORKER = """
import os, subprocess, sys, time
from vit_keras.runtime.worker_process import ParentConnection

parent = ParentConnection()
print("anything that is printed")
while True:
    message = parent.receive()
    if message["do"] == "echo":
        parent.send(message, bytes(message["bytes"]))
    elif message["do"] == "exit":
        sys.exit(3)
    elif message["do"] == "garbage":
        os.write(parent._writer.fileno(), b"x" * 100)
    elif message["do"] == "fork":
        parent.send({"pid": subprocess.Popen(["sleep", "60"]).pid})
    else:
        time.sleep(60)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    (tmp_path / "echo_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    started = []

    def begin():
        started.append(WorkerProcess("echo_worker"))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


def has_ended(pid):
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_messages_and_bytes_arrive_in_order_and_a_timeout_leaves_the_process_running(start):
    process = start()
    for count in (0, 3, 5_000_000):  # the last is larger than the pipe
        message = {"do": "echo", "bytes": count, "text": "été 猫 \udce9"}
        process.send(message)
        assert process.receive(60) == (message, bytes(count))
    process.send({"do": "hang"})
    with pytest.raises(TimeoutError):
        process.receive(0.1)
    assert process.is_running


@pytest.mark.parametrize("task", ["exit", "garbage"])
def test_a_process_that_ends_or_sends_something_else_has_died(start, task):
    process = start()
    process.send({"do": task})
    for _ in range(2):
        with pytest.raises(WorkerDiedError):
            process.receive(60)
    if task == "exit":
        assert process.wait() == 3
    process.kill()
    with pytest.raises(WorkerDiedError):
        process.send({"do": "echo", "bytes": 0})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killing_a_process_kills_its_children(start):
    process = start()
    process.send({"do": "fork"})
    child = process.receive(60)[0]["pid"]
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert has_ended(child)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_busy_process_ends_with_its_parent(start):
    script = (
        "import os, signal; from vit_keras.runtime.worker_process import WorkerProcess; process = WorkerProcess('echo_worker');"
        "process.send({'do': 'echo', 'bytes': 0}); process.receive(); process.send({'do': 'hang'});"
        "print(process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert has_ended(int(answer.stdout))
