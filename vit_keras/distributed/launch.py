"""Starts the processes of a run on this machine, forwards signals to them, and ends all when one fails; imports no backend."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from vit_keras.errors import ClusterError, InvalidArgumentError
from vit_keras.runtime.signals import RESUMABLE

GRACE_SECONDS = 60.0
"""How long the other processes may save and end after one has failed."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 0.1


def local_environments(count: int, environment: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """Returns the environment of each of `count` processes that train together on this machine.

    The GPUs of the machine, or those of CUDA_VISIBLE_DEVICES, are dealt out equally.

    Raises:
        InvalidArgumentError: There are fewer GPUs than processes, or `count` is not positive.
        ClusterError: The backend is not JAX.
    """
    variables = dict(os.environ if environment is None else environment)
    if type(count) is not int or count < 1:
        raise InvalidArgumentError(f"The number of processes must be at least 1, got {count!r}.")
    backend = variables.setdefault("KERAS_BACKEND", "jax")
    if backend != "jax":
        raise ClusterError(
            f"KERAS_BACKEND={backend}: Keras trains in several processes with JAX only. Set KERAS_BACKEND=jax, or start one process, which "
            "uses all devices of this machine."
        )
    gpus = _find_gpus(variables)
    if gpus and len(gpus) % count:
        raise InvalidArgumentError(f"{len(gpus)} GPUs can't be shared equally by {count} processes.")
    each, address = len(gpus) // count, f"127.0.0.1:{_find_free_port()}"
    return [
        {
            **variables,
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
            **({"CUDA_VISIBLE_DEVICES": ",".join(gpus[number * each : (number + 1) * each])} if gpus else {}),
        }
        for number in range(count)
    ]


def run_processes(
    command: Sequence[str], environments: Sequence[Mapping[str, str]], *, grace_seconds: float = GRACE_SECONDS
) -> int:
    """Runs a command once per environment, and returns the exit code of all: 0, or that of the first that failed.

    The output of several processes is prefixed with their numbers. Ctrl-C and SIGTERM are forwarded to all, which then save and end. When
    a process fails, the others get SIGTERM, and are killed after `grace_seconds`. One that was killed, or that JAX ended because another
    was lost, counts as resumable (75). None is started again.
    """
    several = len(environments) > 1
    forwarding = _Forwarding()
    with forwarding:
        for number, environment in enumerate(environments):
            pipe = subprocess.PIPE if several else None
            process = subprocess.Popen(
                list(command),
                env={**environment, **({"PYTHONUNBUFFERED": "1"} if several else {})},
                stdin=subprocess.DEVNULL if several else None,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,  # Ctrl-C reaches it once, by us
            )
            forwarding.processes.append(process)
            for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                if source is not None:
                    reader = threading.Thread(target=_copy_lines, args=(source, target, f"[{number}] "), daemon=True)
                    forwarding.readers.append(reader)
                    reader.start()
        code = _wait(forwarding.processes, grace_seconds)
        for reader in forwarding.readers:
            reader.join(timeout=5)
    return code


class _Forwarding:
    """Forwards signals to processes inside its block, and ends those that are left after it."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.readers: list[threading.Thread] = []
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_Forwarding":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._forward) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        _send(self.processes, number)


def _wait(processes: Sequence["subprocess.Popen[bytes]"], grace_seconds: float) -> int:
    """Waits for all processes; after the first failure, asks the others to end, and then makes them."""
    failed: int | None = None
    end = 0.0
    while True:
        codes = [process.poll() for process in processes]
        if failed is None:
            failed = next((code for code in codes if code), None)
            if failed is not None:
                end = time.monotonic() + grace_seconds
                _send(processes, signal.SIGTERM)
        if None not in codes:
            return _exit_code(failed or 0, several=len(processes) > 1)
        if failed is not None and time.monotonic() > end:
            for process in processes:
                if process.poll() is None:
                    process.kill()
        time.sleep(_POLL_SECONDS)


def _send(processes: Sequence["subprocess.Popen[bytes]"], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _exit_code(code: int, *, several: bool) -> int:
    if code == -signal.SIGABRT or (several and code == -signal.SIGKILL):  # JAX aborts a process that has lost another
        return RESUMABLE
    return 128 - code if code < 0 else code


def _copy_lines(source: IO[bytes], target: Any, prefix: str) -> None:
    with source:
        for line in source:
            target.write(prefix + line.decode("utf-8", "replace"))
            target.flush()


def _find_gpus(variables: Mapping[str, str]) -> list[str]:
    """Returns the NVIDIA GPUs that programs see here, by number or name."""
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [each.strip() for each in visible.split(",") if each.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
