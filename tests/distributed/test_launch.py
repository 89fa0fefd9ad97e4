"""Local processes: their environments, their output, and how they end together."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vit_keras.distributed.launch import local_environments, run_processes
from vit_keras.errors import ClusterError, InvalidArgumentError

pytestmark = pytest.mark.any_backend


def run(code, count=2, **options):
    """Runs Python code in `count` processes, in which N is the number of the process."""
    environments = [{**os.environ, "N": str(number)} for number in range(count)]
    return run_processes(
        [sys.executable, "-c", f"import os, sys, time, signal; N = int(os.environ['N']); {code}"],
        environments,
        **options,
    )


def test_lines_begin_with_the_number_of_the_process(capfd):
    assert run("print('out'); print('err', file=sys.stderr)") == 0
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[0] out", "[1] out"]
    assert sorted(err.splitlines()) == ["[0] err", "[1] err"]


def test_when_one_fails_the_others_are_asked_to_end(capfd):
    code = (
        "signal.signal(15, lambda *_: (print('saved', flush=True), sys.exit(75))); sys.exit(6) if N else time.sleep(60)"
    )
    assert run(code.replace("sys.exit(6) if N", "time.sleep(1) or sys.exit(6) if N")) == 6
    assert "[0] saved" in capfd.readouterr().out


def test_one_that_does_not_end_is_killed():
    start = time.monotonic()
    assert (
        run(
            "signal.signal(15, signal.SIG_IGN); (time.sleep(1), sys.exit(3)) if N else time.sleep(60)",
            grace_seconds=0.5,
        )
        == 3
    )
    assert time.monotonic() - start < 30  # a hang would be 60


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_process_that_was_killed_counts_as_resumable(number):
    assert run(f"os.kill(os.getpid(), {int(number)}) if N else time.sleep(60)") == 75


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_all_processes_once(number):
    code = (
        "import os, sys; from vit_keras.distributed.launch import run_processes; "
        "child = 'import signal, sys, time; seen = []; "
        f"signal.signal({int(number)}, lambda *_: seen.append(1)); print(1, flush=True); [time.sleep(0.1) for _ in range(100) if not seen]; "
        "time.sleep(0.5); sys.exit(75 if len(seen) == 1 else 9)'; "
        "sys.exit(run_processes([sys.executable, '-c', child], [dict(os.environ)] * 2))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        assert {launcher.stdout.readline(), launcher.stdout.readline()} == {"[0] 1\n", "[1] 1\n"}
        launcher.send_signal(number)
        assert launcher.wait(30) == 75


def test_each_process_knows_the_others():
    first, second = local_environments(2, {"CUDA_VISIBLE_DEVICES": ""})
    assert first["KERAS_BACKEND"] == "jax"
    assert first["KERAS_DISTRIBUTION_JOB_ADDRESSES"].startswith("127.0.0.1:")
    assert first["KERAS_DISTRIBUTION_JOB_ADDRESSES"] == second["KERAS_DISTRIBUTION_JOB_ADDRESSES"]
    assert (first["KERAS_DISTRIBUTION_PROCESS_ID"], second["KERAS_DISTRIBUTION_PROCESS_ID"]) == ("0", "1")


def test_gpus_are_dealt_out():
    found = local_environments(2, {"CUDA_VISIBLE_DEVICES": "4,5,6,7"})
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["4,5", "6,7"]
    with pytest.raises(InvalidArgumentError, match="4 GPUs can't be shared equally by 3 processes"):
        local_environments(3, {"CUDA_VISIBLE_DEVICES": "4,5,6,7"})


def test_bad_launches_are_refused():
    with pytest.raises(InvalidArgumentError, match="at least 1, got 0"):
        local_environments(0, {})
    with pytest.raises(ClusterError, match="KERAS_BACKEND=torch: Keras trains in several processes with JAX only"):
        local_environments(2, {"KERAS_BACKEND": "torch"})
